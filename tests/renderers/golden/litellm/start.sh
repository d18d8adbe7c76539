#!/usr/bin/env bash
# Runs LiteLLM's proxy in the foreground on this folder's configuration. LITELLM_MASTER_KEY is the key that clients send.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
: "${LITELLM_MASTER_KEY:?set it to a long random text}"
# Its table of prices is in the package: nothing is fetched, and nothing is told.
export LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_TELEMETRY_DISABLED=true
exec litellm --config config.yaml --host 127.0.0.1 --port 8080 "$@"
