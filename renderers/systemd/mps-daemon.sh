#!/usr/bin/env bash
# Runs the MPS daemon of a GPU in the foreground, as its unit says where: mps-daemon.sh GPU
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=mps.sh
source "$here/mps.sh"
mps_installed || exit 1
CUDA_VISIBLE_DEVICES="$(gpu_uuid "$1")" || exit 1
export CUDA_VISIBLE_DEVICES
exec nvidia-cuda-mps-control -f
