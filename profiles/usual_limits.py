"""Limits that vLLM's server takes when none are given."""

from __future__ import annotations

from profiles.gpu_types import GpuType

_MIB_PER_GIB = 1024


def usual_limits(gpu: GpuType) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens) of `vllm serve` on a GPU type (get_batch_defaults in vllm/engine/arg_utils.py, 0.32)."""
    if gpu.memory_usable_mib >= 160 * _MIB_PER_GIB:
        return 1024, 16384
    if gpu.memory_usable_mib >= 70 * _MIB_PER_GIB and "a100" not in gpu.name.lower():
        return 1024, 8192
    return 256, 2048
