#!/usr/bin/env bash
# Replica mistral-7b-0 on node h100-0, GPU 1 (time_shared): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=6bd4a2dd13f2b0ded9fab2f13f06e88323348447324e91a44a8323267f616cd4
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_VISIBLE_DEVICES=1
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
exec \
  vllm serve mistralai/Mistral-7B-v0.3 \
  --served-model-name mistral-7b \
  --host 127.0.0.1 \
  --port 8103 \
  --dtype bfloat16 \
  --revision main \
  --quantization fp8 \
  --tensor-parallel-size 1 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --kv-cache-dtype fp8 \
  --kv-cache-memory-bytes 8589934592 \
  --gpu-memory-utilization 0.34 \
  --stream-interval 1 \
  --shutdown-timeout 30
