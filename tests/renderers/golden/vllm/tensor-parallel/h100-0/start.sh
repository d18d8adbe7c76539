#!/usr/bin/env bash
# Starts the replicas of node h100-0: those of one GPU strictly one after another (a start measures free memory, a
# second one beside it would spoil the measurement), different GPUs in parallel. Replicas that already run are left alone.
# Process numbers and logs go to $ULLAGE_RUN_DIR, or the folder run/ beside this script.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
run="${ULLAGE_RUN_DIR:-$here/run}"
# shellcheck source=processes.sh
source "$here/processes.sh"
mkdir -p -- "$run"
exec 9>"$run/lock"
if ! flock --nonblock 9; then
  printf 'another start or stop is at work in %s; wait for it or end it\n' "$run" >&2
  exit 1
fi

# start_replica NAME FILE URL SERVED_NAME LIMIT_S
start_replica() {
  local name="$1" file="$2" url="$3" served="$4" limit_s="$5" pid ready
  pid="$(server_leader "$run/$file.pid")"
  if [[ -n "$pid" ]]; then
    printf '%s: runs already\n' "$name"
  else
    stop_server "$name" "$run/$file.pid" 60
    # No descriptor of the lock goes to the server, or the lock would last as long as the server.
    setsid bash "$here/replicas/$file.sh" </dev/null >>"$run/$file.log" 2>&1 9>&- &
    pid="$!"
    printf '%s %s\n' "$pid" "$(started_ticks "$pid")" >"$run/$file.pid"
    printf '%s: started, process %s, log %s\n' "$name" "$pid" "$run/$file.log"
  fi
  ready=0
  python3 "$here/ready.py" --url "$url" --model "$served" --limit-s "$limit_s" --pid "$pid" 9>&- || ready=1
  if ((ready != 0)); then
    printf '%s: not ready; the end of its log:\n' "$name" >&2
    tail -n 20 -- "$run/$file.log" >&2 || true
    stop_server "$name" "$run/$file.pid" 60
    return 1
  fi
  printf '%s: ready\n' "$name"
}

# GPU 0, 1
start_group_1() {
  start_replica llama-70b-0 llama-70b-0 http://127.0.0.1:8100 llama-70b 432
}

# GPU 2
start_group_2() {
  start_replica llama-8b-0 llama-8b-0 http://127.0.0.1:8101 llama-8b 212
}

groups=()
trap 'kill "${groups[@]}" 2>/dev/null || true' INT TERM
start_group_1 &
groups+=("$!")
start_group_2 &
groups+=("$!")
status=0
for group in "${groups[@]}"; do
  wait "$group" || status=1
done
if ((status != 0)); then
  printf 'not every replica is ready; those that are keep running, the stop script ends them\n' >&2
fi
exit "$status"
