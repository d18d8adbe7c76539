#!/usr/bin/env bash
# Replica llama-8b-1 on node h100-0, GPU 1 (time_shared): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=0725e4519245c8479b92ef644cc42f6ce9194c848b5958697f45f2bca9c747fe
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_VISIBLE_DEVICES=1
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
