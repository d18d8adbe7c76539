#!/usr/bin/env bash
# Runs Envoy in the foreground on this folder's configuration.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
exec envoy -c envoy.yaml --disable-hot-restart --log-level warning "$@"
