#!/usr/bin/env bash
# Starts the replicas of node h100-0: those of one GPU strictly one after another (a start measures free memory, a
# second one beside it would spoil the measurement), different GPUs in parallel. A replica that runs with the very arguments of its
# script is left alone, any other is restarted, one at a time per served model. Those no longer rendered are stopped: at once where
# a start needs their GPU or port, else when all others are ready.
# Process numbers and logs go to $ULLAGE_RUN_DIR, or the folder run/ beside this script.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
run="${ULLAGE_RUN_DIR:-$here/run}"
# shellcheck source=processes.sh
source "$here/processes.sh"
grace_s=60
# shellcheck source=mps.sh
source "$here/mps.sh"
# Nothing is stopped for replicas that could not start.
mps_installed || exit 1
# shellcheck source=rolling.sh
source "$here/rolling.sh"
shopt -s nullglob
mkdir -p -- "$run"
exec 9>"$run/lock"
if ! flock --nonblock 9; then
  printf 'another start or stop is at work in %s; wait for it or end it\n' "$run" >&2
  exit 1
fi

# What is rendered: NAME FILE URL SERVED KEY DEVICES MIB LIMIT_S
add_replica llama-8b-0 llama-8b-0 http://127.0.0.1:8100 llama-8b llama-8b 0 26208 212
add_replica qwen3-8b-0 qwen3-8b-0 http://127.0.0.1:8101 qwen3-8b qwen3-8b 0 26208 212
add_replica mistral-7b-0 mistral-7b-0 http://127.0.0.1:8102 mistral-7b mistral-7b 1 26208 212

# Replicas that share GPUs, by their numbers above: one list for each set of GPUs.
roll "0 1" "2"
