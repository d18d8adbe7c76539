#!/usr/bin/env bash
# Replica qwen3-8b-0 on node h100-0, GPU 0, MIG 3g.40gb at start slot 4 (mig): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=d449a574fc32227a2f1ffe2306320a5a7f212cb60eb395d6dcb81d5bc6824477
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
if [[ "${ULLAGE_MIG_GPU0_START4:-}" != MIG-* ]]; then
  printf '%s\n' 'ULLAGE_MIG_GPU0_START4 must hold the UUID (MIG-...) of the MIG instance 3g.40gb at start slot 4 of GPU 0; list the instances and their start slots with: nvidia-smi mig -lgi; and their UUIDs with: nvidia-smi -L' >&2
  exit 1
fi
export CUDA_VISIBLE_DEVICES="$ULLAGE_MIG_GPU0_START4"
exec \
  vllm serve Qwen/Qwen3-8B \
  --served-model-name qwen3-8b \
  --host 127.0.0.1 \
  --port 8101 \
  --dtype bfloat16 \
  --tensor-parallel-size 1 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --kv-cache-dtype auto \
  --kv-cache-memory-bytes 8589934592 \
  --gpu-memory-utilization 0.65 \
  --stream-interval 1 \
  --shutdown-timeout 30
