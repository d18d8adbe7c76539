#!/usr/bin/env bash
# Replica llama-8b-0 on node h100-0, GPU 0, MIG 4g.40gb at start slot 0 (mig): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
# Over command line, environment and MIG place: start.sh restarts a replica that was started with another one.
export ULLAGE_ARGUMENTS_SHA256=b00f16f517c0224a51e6513a9ecd4b9600bb12fbc6fabee894b1e1a4ef8cafb3
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
if [[ "${ULLAGE_MIG_GPU0_START0:-}" != MIG-* ]]; then
  printf '%s\n' 'ULLAGE_MIG_GPU0_START0 must hold the UUID (MIG-...) of the MIG instance 4g.40gb at start slot 0 of GPU 0; list the instances and their start slots with: nvidia-smi mig -lgi; and their UUIDs with: nvidia-smi -L' >&2
  exit 1
fi
export CUDA_VISIBLE_DEVICES="$ULLAGE_MIG_GPU0_START0"
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
  --gpu-memory-utilization 0.65 \
  --stream-interval 1 \
  --shutdown-timeout 30
