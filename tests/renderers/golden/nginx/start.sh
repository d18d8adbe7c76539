#!/usr/bin/env bash
# Runs nginx in the foreground on this folder's configuration. SIGHUP makes it read the folder again: kill -HUP "$(cat nginx.pid)"
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
mkdir -p temporary
# Each request is two open connections.
ulimit -n "$(ulimit -H -n)"
exec nginx -p . -e stderr -c nginx.conf "$@"
