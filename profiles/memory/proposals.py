"""What would fit where engines do not: fp8 weights made while loading, more GPUs per layer, or both, from the same arithmetic as `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from profiles.gpu_types import GpuType, MigProfile
from profiles.memory.coexistence import ResidentEngine, fit
from profiles.precision import FP8_COMPUTE_CAPABILITY, compute_capability

# Blocks of one node: nodes of eight GPUs are the largest of the catalogue's boards.
_LARGEST_BLOCK = 8


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that makes the engines fit; left_mib stays free per GPU beyond headroom and least pools.

    quantized names the engines that take fp8 instead of unquantised weights; tensor_parallel_size is the smallest that is enough then.
    """

    quantized: tuple[str, ...]
    tensor_parallel_size: int
    left_mib: int


def proposals(engines: Sequence[ResidentEngine], gpu: GpuType, mig: MigProfile | None, headroom_mib: int) -> tuple[Proposal, ...]:
    """What makes engines fit that do not: fp8 alone, the smallest larger tensor-parallel size as asked, and the smallest with fp8.

    fp8 is proposed where the GPU multiplies it and the checkpoint is not quantised. What needs no fewer GPUs with fp8 is told once.
    """
    as_asked = _smallest(engines, gpu, mig, headroom_mib, ())
    quantized = tuple(engine.name for engine in engines if _takes_fp8(engine, gpu))
    in_fp8 = _smallest(engines, gpu, mig, headroom_mib, quantized) if quantized else None
    if in_fp8 is not None and as_asked is not None and in_fp8.tensor_parallel_size >= as_asked.tensor_parallel_size:
        in_fp8 = None
    return tuple(item for item in (in_fp8, as_asked) if item is not None)


def _takes_fp8(engine: ResidentEngine, gpu: GpuType) -> bool:
    has_fp8 = gpu.fp8_tflops is not None and compute_capability(gpu) >= FP8_COMPUTE_CAPABILITY
    return has_fp8 and engine.architecture.checkpoint_quant is None and engine.settings.quantization is None


def _smallest(
    engines: Sequence[ResidentEngine], gpu: GpuType, mig: MigProfile | None, headroom_mib: int, quantized: Sequence[str]
) -> Proposal | None:
    """The fewest GPUs per layer, not fewer than asked, with which they fit; None when no block of one node is enough."""
    size = max(engine.settings.tensor_parallel_size for engine in engines)
    while size <= _LARGEST_BLOCK:
        found = fit([_changed(engine, size, engine.name in quantized) for engine in engines], gpu, mig, headroom_mib)
        if found.fits:
            return Proposal(tuple(quantized), size, found.left_mib)
        if mig is not None or gpu.engine is not None:
            return None
        # engines take powers of two
        size = 1 << size.bit_length()
    return None


def _changed(engine: ResidentEngine, size: int, in_fp8: bool) -> ResidentEngine:
    settings = replace(engine.settings, tensor_parallel_size=size, quantization="fp8" if in_fp8 else engine.settings.quantization)
    # what the files hold is not what is loaded once it is made fp8
    return replace(engine, settings=settings, checkpoint_bytes=None if in_fp8 else engine.checkpoint_bytes)
