#!/usr/bin/env bash
# Replica llama-8b-0 on node h100-0, GPU 0 (mps): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=c91aefcdc0f4befef6a52312b1384851b6f01c40a871e2342992e6b744866b6c
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=60
export CUDA_VISIBLE_DEVICES=0
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
run="${ULLAGE_RUN_DIR:-$here/run}"
# shellcheck source=../mps.sh
source "$here/mps.sh"
join_mps 0
exec \
  vllm serve meta-llama/Meta-Llama-3.1-8B \
  --served-model-name llama-8b \
  --host 127.0.0.1 \
  --port 8100 \
  --dtype bfloat16 \
  --tensor-parallel-size 1 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --kv-cache-dtype auto \
  --kv-cache-memory-bytes 8589934592 \
  --gpu-memory-utilization 0.34 \
  --stream-interval 1 \
  --shutdown-timeout 30
