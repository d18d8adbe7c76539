"""What a reader of a ledger should know that its numbers do not say."""

from __future__ import annotations

from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.precision import FP8_COMPUTE_CAPABILITY, compute_capability
from profiles.settings import EngineSettings


def caveats(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> tuple[str, ...]:
    """What is not known about the weights, and what may be slow or needs a certain backend."""
    kv = kv_caveat(gpu, settings)
    return tuple(text for text in (architecture.weights_note, f"{architecture.name}: {kv}" if kv else "") if text)


def kv_caveat(gpu: GpuType, settings: EngineSettings) -> str:
    """The warning about the KV cache's type on this GPU; empty when there is none."""
    if not settings.kv_cache_dtype.startswith("fp8") or compute_capability(gpu) >= FP8_COMPUTE_CAPABILITY:
        return ""
    return (
        f"kv_cache_dtype {settings.kv_cache_dtype} on compute capability {gpu.compute_capability} ({gpu.name}) is converted in "
        f"software: its kernels are slower than on {FP8_COMPUTE_CAPABILITY} and later, and vLLM needs an attention backend that supports it"
    )
