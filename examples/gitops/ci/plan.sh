#!/usr/bin/env bash
# The plan of fleet.yaml in a repository.
#   bash ci/plan.sh write    make plan.json and deploy/, to be committed together with an edit of fleet.yaml
#   bash ci/plan.sh check    fail unless plan.json and deploy/ are those of fleet.yaml
#   bash ci/plan.sh comment  print what changes against applied.json as Markdown
#   bash ci/plan.sh applied  after `ullage apply plan.json`: remember that it runs
# applied.json is the plan that runs; without it nothing runs yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=(vllm envoy kubernetes)
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Plans fleet.yaml into the file $1, as if applied.json ran. Prints one line; ends with 1 when there is no plan.
plan_into() {
  local code=0 prior=(--state "$scratch/nothing-runs")
  if [ -e applied.json ]; then prior=(--prior applied.json); fi
  ullage validate fleet.yaml
  ullage plan fleet.yaml "${prior[@]}" --reproducible --detailed-exitcode -o "$1" >"$scratch/plan.txt" || code=$?
  case "$code" in
    0) echo "fleet.yaml: nothing that runs changes" ;;
    2) echo "fleet.yaml: what runs changes" ;;
    *) exit 1 ;;
  esac
}

write() {
  plan_into plan.json
  for target in "${targets[@]}"; do
    ullage render plan.json --to "$target" -o "deploy/$target"
  done
}

check() {
  plan_into "$scratch/plan.json"
  [ -e plan.json ] || fail "there is no plan.json; run: bash ci/plan.sh write; then commit plan.json and deploy/"
  cmp -s "$scratch/plan.json" plan.json ||
    fail "plan.json is not the plan of fleet.yaml; run: bash ci/plan.sh write; read the difference, then commit plan.json and deploy/"
  for target in "${targets[@]}"; do
    local code=0
    ullage render plan.json --to "$target" -o "deploy/$target" --check || code=$?
    case "$code" in
      0) ;;
      2) fail "deploy/$target is not what plan.json renders to; take hand edits (!) back with: git checkout -- deploy/$target;" \
        "for anything else run: bash ci/plan.sh write; then commit deploy/" ;;
      *) exit 1 ;;
    esac
  done
  echo "plan.json and deploy/ are those of fleet.yaml"
}

comment() {
  if [ -e applied.json ]; then
    ullage diff applied.json plan.json --markdown
  else
    ullage show plan.json --markdown
  fi
}

applied() {
  cp plan.json applied.json
}

case "${1:-}" in
  write | check | comment | applied) "$1" ;;
  *) fail "give one of: write, check, comment, applied (got '${1:-}')" ;;
esac
