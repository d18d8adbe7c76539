"""What a measured pair says about engines that share a GPU.

A slowdown is the time together over the time alone. Time slices give each of two busy engines half of the GPU, which the plan counts by
itself (the guaranteed share); what is left is the interference factor: slowdown / 2. It multiplies every step on top of 1 / share, and
is 1.0 when slices cost nothing. Under MPS the engine had its own percentage of threads when it was alone too: the factor is the slowdown.
Slices that a neighbour leaves unused make a factor below 1; nobody can promise them, so 1.0 is the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from profiles.store.measurements import Measurements, PairPoint, PairSharing, Phase, preferred

# The phases of a pair that are measured: each engine reading prompts or writing answers.
_PHASES: tuple[Phase, ...] = ("prefill", "decode")
GRID = tuple(product(_PHASES, _PHASES))
# Engines that a slowdown counts equal slices of: both of a pair are always busy while they are measured.
_EQUAL_SLICES = {"time_shared": 2.0, "mps": 1.0}


def factor_of(slowdown: float, sharing: PairSharing) -> float:
    """The interference factor that a slowdown (time together over time alone) stands for, at least 1.0."""
    return max(slowdown / _EQUAL_SLICES[sharing], 1.0)


def slowdown_of(factor: float, sharing: PairSharing) -> float:
    """The slowdown that an interference factor stands for."""
    return factor * _EQUAL_SLICES[sharing]


def measured_factor(
    measurements: Measurements, model: str, neighbour: str, gpu: str, sharing: PairSharing, engine_version: str | None = None
) -> float | None:
    """Interference factor of a model beside a neighbour on a GPU type: the largest over the phases of their medians.

    None until they were measured in every phase of the grid, or once with both kinds of work mixed. Models and GPU types by the
    catalogue's names; engine_version is preferred among measurements of one phase.
    """
    cells: dict[tuple[Phase, Phase], list[PairPoint]] = {}
    for point in measurements.pairs_of(model, neighbour, gpu, sharing):
        cells.setdefault((point.first.phase, point.second.phase), []).append(point)
    wanted: Sequence[tuple[Phase, Phase]] = GRID if all(phases in cells for phases in GRID) else [("mixed", "mixed")]
    found = [preferred(cells.get(phases, ()), engine_version) for phases in wanted]
    medians = [factor_of(point.first.slowdown, sharing) for point in found if point is not None]
    return max(medians, default=None)


def group_factor(
    measurements: Measurements, model: str, neighbours: Sequence[str], gpu: str, sharing: PairSharing, assumed: float
) -> tuple[float, bool]:
    """Interference factor of a model among several neighbours, and whether it rests on measurements of all of them.

    The largest of its pairs: the cost of a slice depends on who had the GPU before, not on how many wait. A pair that nobody measured
    counts with the assumed factor. Without neighbours the assumed factor, unmeasured.
    """
    known = [measured_factor(measurements, model, neighbour, gpu, sharing) for neighbour in neighbours]
    return max((factor if factor is not None else assumed for factor in known), default=assumed), bool(known) and None not in known
