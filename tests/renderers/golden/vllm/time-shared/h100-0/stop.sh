#!/usr/bin/env bash
# Stops every replica that start.sh started on node h100-0, of earlier plans too, all at once, and waits until their
# processes are gone. Take them out of the router first.
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
shopt -s nullglob
for pid_file in "$run"/*.pid; do
  stop_server "$(basename -- "$pid_file" .pid)" "$pid_file" 60 &
done
wait
# Nothing is meant to run any more.
rm -f -- "$run"/*.record
end_unused_mps
