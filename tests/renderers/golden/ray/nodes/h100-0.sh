#!/usr/bin/env bash
# Node h100-0 joins Ray with the GPUs of the plan and the resources that keep its replicas here. Arguments go to `ray start`:
# --head on the first node, --address=HEAD:6379 on any other.
set -euo pipefail
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export CUDA_VISIBLE_DEVICES=0,1,2
exec ray start --num-gpus=3 --resources='{"ullage-node-h100-0": 1000}' "$@"
