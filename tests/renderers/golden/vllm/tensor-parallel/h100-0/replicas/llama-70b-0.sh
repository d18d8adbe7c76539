#!/usr/bin/env bash
# Replica llama-70b-0 on node h100-0, GPU 0, 1 (tensor_parallel): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=69e9994656c6069972620166d0aedd3770549199f2af70385f7ddbd844988e90
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_VISIBLE_DEVICES=0,1
export VLLM_ENGINE_READY_TIMEOUT_S=432
export VLLM_NO_USAGE_STATS=1
exec \
  vllm serve meta-llama/Meta-Llama-3.1-70B \
  --served-model-name llama-70b \
  --host 127.0.0.1 \
  --port 8100 \
  --dtype bfloat16 \
  --tensor-parallel-size 2 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --kv-cache-dtype auto \
  --kv-cache-memory-bytes 6442450944 \
  --gpu-memory-utilization 0.94 \
  --stream-interval 1 \
  --shutdown-timeout 30
