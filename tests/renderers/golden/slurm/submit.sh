#!/usr/bin/env bash
# Brings the queue to what is rendered: submits replicas that are not in it as they are rendered, and ends those in it that are no
# longer rendered so. With names, only these replicas: submit.sh [NAME...].
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
prefix=ullage
only=("$@") only_count=$#
names=() scripts=() hashes=()

add_replica() {
  names+=("$1") scripts+=("$2") hashes+=("$3")
}

# What is rendered: NAME SCRIPT SHA-256
add_replica llama-70b-0 h100-0/llama-70b-0.sh 598fff0c5123eccd25d5f726cdbe447c18dac1d9a7c26420d3939c842e188211
add_replica llama-8b-0 h100-0/llama-8b-0.sh 9c51ed54e3d143884c53afe1e83a88ebe1eeadc3e6a8a9a6632ad044189df962

# asked NAME: whether it is to be looked at.
asked() {
  local each
  if ((only_count == 0)); then
    return 0
  fi
  for each in "${only[@]}"; do
    if [[ "$each" == "$1" ]]; then
      return 0
    fi
  done
  return 1
}

# hash_of NAME: of the rendered replica; nothing where it is not rendered.
hash_of() {
  local i
  for i in "${!names[@]}"; do
    if [[ "${names[i]}" == "$1" ]]; then
      printf '%s\n' "${hashes[i]}"
    fi
  done
}

queue="$(squeue --me --noheader --states=PENDING,CONFIGURING,RUNNING,SUSPENDED --format='%i|%t|%k|%j')"
declare -A kept=() before=() seen=()
for name in "${names[@]}"; do
  seen[$name]=1
done
while IFS='|' read -r id state comment name; do
  if [[ "$name" != "$prefix"-* || ! "$comment" =~ ^ullage:[0-9a-f]{64}$ ]]; then
    continue
  fi
  name="${name#"$prefix"-}"
  seen[$name]=1
  if ! asked "$name"; then
    continue
  fi
  if [[ -z "${kept[$name]:-}" && "$comment" == "ullage:$(hash_of "$name")" ]]; then
    kept[$name]="$id"
    printf '%s: unchanged, number %s\n' "$name" "$id"
    continue
  fi
  before[$name]="${before[$name]:-}:$id"
  printf '%s: ending number %s\n' "$name" "$id"
  if [[ "$state" == PD ]]; then
    scancel -- "$id"
  else
    # To the script alone: it lets the engine finish what it answers.
    scancel --batch --signal=TERM -- "$id"
  fi
done <<<"$queue"

for name in "${only[@]}"; do
  if [[ -z "${seen[$name]:-}" ]]; then
    printf '%s: neither rendered nor in the queue\n' "$name" >&2
    exit 1
  fi
done
for i in "${!names[@]}"; do
  name="${names[i]}"
  if ! asked "$name" || [[ -n "${kept[$name]:-}" ]]; then
    continue
  fi
  options=()
  if [[ -n "${before[$name]:-}" ]]; then
    # Its GPU and its port are free when the earlier one has ended.
    options+=("--dependency=afterany${before[$name]}")
  fi
  id="$(sbatch --parsable "${options[@]}" "$here/${scripts[i]}")"
  printf '%s: submitted, number %s\n' "$name" "$id"
done
