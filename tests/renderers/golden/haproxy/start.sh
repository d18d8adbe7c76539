#!/usr/bin/env bash
# Runs HAProxy in the foreground on this folder's configuration. SIGUSR2 makes it read the folder again: kill -USR2 "$(cat haproxy.pid)"
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
exec haproxy -W -p haproxy.pid -f haproxy.cfg "$@"
