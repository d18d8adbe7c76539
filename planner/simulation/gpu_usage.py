"""From the use of engines and units of compute to the use of GPUs: over all of the time, and in each part of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu
from planner.simulation.traffic_metrics import BusyPart, EngineUse, GpuUse

Stretches = tuple[tuple[float, float], ...]
"""(from, until) in seconds, ascending."""


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


def busy_parts(gpus: Sequence[SimulatedGpu], busy_s: Mapping[str, Stretches], end_s: float, part_s: float) -> tuple[BusyPart, ...]:
    """How busy each GPU was in each part of the time from 0 to end_s, GPU by GPU; parts are part_s long, the last may be shorter.

    busy_s: the stretches of SimulationResult; a key without engines may be left out. Weighted by time, the parts of a GPU have its
    busy_fraction as their mean. Raises ValueError for parts without length.
    """
    if not 0 < part_s < math.inf:
        raise ValueError(f"parts of {part_s:g} s do not divide a time; give a length in seconds above 0")
    count = math.ceil(end_s / part_s)
    ends_s = [min((index + 1) * part_s, end_s) for index in range(count)]
    in_part_s = {key: _in_parts_s(stretches, count, part_s) for key, stretches in busy_s.items()}
    idle_s = [0.0] * count
    return tuple(
        BusyPart(
            gpu=gpu.name,
            start_s=index * part_s,
            end_s=ends_s[index],
            busy_fraction=min(
                1.0, sum(share * per(in_part_s.get(key, idle_s)[index], ends_s[index] - index * part_s) for key, share in gpu.parts)
            ),
        )
        for gpu in gpus
        for index in range(count)
    )


def _in_parts_s(stretches: Stretches, count: int, part_s: float) -> list[float]:
    """Seconds of the stretches in each part."""
    found = [0.0] * count
    for from_s, until_s in stretches:
        for index in range(int(from_s / part_s), min(count, int(until_s / part_s) + 1)):
            found[index] += max(0.0, min(until_s, (index + 1) * part_s) - max(from_s, index * part_s))
    return found
