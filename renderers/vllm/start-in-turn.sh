#!/usr/bin/env bash
# Starts a server that shares its GPU: start-in-turn.sh GPU URL MODEL LIMIT_S COMMAND...
# Starts on one GPU must not overlap (each measures the free memory), so it takes the lock of its GPU on this node, keeps it until
# the server answers or has ended, and then lets the next one start. The lock goes with its holder, whatever happens to it.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
gpu="$1" url="$2" model="$3" limit_s="$4"
shift 4
exec 9>>"${ULLAGE_TURNS:-/run/ullage}/$gpu.lock"
flock 9
# The lock is held as long as somebody has descriptor 9 open: from here on that is the one who waits.
server=$$
(python3 "$here/ready.py" --url "$url" --model "$model" --limit-s "$limit_s" --pid "$server" || true) &
exec 9>&-
exec "$@"
