"""From the use of engines and units of compute to the use of GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu
from planner.simulation.traffic_metrics import EngineUse, GpuUse


def per(amount: float, total: float) -> float:
    """amount / total, and 0 of nothing."""
    return amount / total if total > 0 else 0.0


def gpu_uses(
    gpus: Sequence[SimulatedGpu], engines: Sequence[SimulatedEngine], uses: Sequence[EngineUse], busy_fraction: Mapping[str, float]
) -> tuple[GpuUse, ...]:
    """One GpuUse per GPU, in their order.

    uses go with engines, one each. busy_fraction: per gpu_key the share of time in which any of its engines computed; a key without
    engines may be left out.
    """
    block_sizes = Counter(key for gpu in gpus for key, _ in gpu.parts)
    pairs = list(zip(engines, uses, strict=True))
    return tuple(_gpu_use(gpu, pairs, busy_fraction, block_sizes) for gpu in gpus)


def _gpu_use(
    gpu: SimulatedGpu,
    pairs: Sequence[tuple[SimulatedEngine, EngineUse]],
    busy_fraction: Mapping[str, float],
    block_sizes: Mapping[str, int],
) -> GpuUse:
    keys = {key for key, _ in gpu.parts}
    mine = [(engine, use) for engine, use in pairs if engine.gpu_key in keys]
    kv_mib = sum(engine.kv_mib for engine, _ in mine)
    return GpuUse(
        gpu=gpu.name,
        busy_fraction=sum(fraction * busy_fraction.get(key, 0.0) for key, fraction in gpu.parts),
        kv_mean_fraction=per(sum(use.kv_mean_fraction * engine.kv_mib for engine, use in mine), kv_mib),
        kv_peak_fraction=max((use.kv_peak_fraction for _, use in mine), default=0.0),
        tokens_per_s=sum(use.tokens_per_s / block_sizes[engine.gpu_key] for engine, use in mine),
    )
