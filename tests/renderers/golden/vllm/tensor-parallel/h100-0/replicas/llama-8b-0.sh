#!/usr/bin/env bash
# Replica llama-8b-0 on node h100-0, GPU 2 (exclusive): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=491c4c474f82fd9d73de11dc56d05db67ee6c1cf9d19d4c1bb39290b015f3e0e
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_VISIBLE_DEVICES=2
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
exec \
  vllm serve meta-llama/Meta-Llama-3.1-8B \
  --served-model-name llama-8b \
  --host 127.0.0.1 \
  --port 8101 \
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
