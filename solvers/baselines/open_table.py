"""Which GPUs in use could take a shape at all: what they have left, in arrays, so that thousands of them are asked at once.

What passes here is only likely: each rule of the Problem is asked of it again, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from planner.problem import Pool, Shape
from solvers.baselines.open_gpus import GpuLoad, OpenGpus

# GPUs that may share with each other: pool, mode, colocation class
Sharers = tuple[int, str, str]

_COLUMNS = 7
# stands for room without end: slices of MIG have their memory and time to themselves
_ENDLESS = 1 << 60


def sharers_of(shape: Shape) -> Sharers:
    """Which GPUs a shape may join."""
    return shape.pool, shape.mode, shape.colocation_class


@dataclass(slots=True)
class _Rows:
    """Groups of one kind and what one of their GPUs has left; more rows than groups, so that they need not be copied often."""

    groups: list[OpenGpus] = field(default_factory=list)
    left: NDArray[np.int64] = field(default_factory=lambda: np.zeros((16, _COLUMNS), dtype=np.int64))

    def add(self, group: OpenGpus, left: Sequence[int]) -> None:
        if len(self.groups) == len(self.left):
            self.left = np.concatenate([self.left, np.zeros_like(self.left)])
        self.left[len(self.groups)] = left
        self.groups.append(group)


@dataclass(slots=True)
class OpenTable:
    """All groups of GPUs in use that are not taken whole."""

    _rows: dict[Sharers, _Rows] = field(default_factory=dict)

    def add(self, pool: Pool, group: OpenGpus) -> None:
        """Know a group from now on, whether it holds GPUs or not."""
        if group.load is not None:
            sharers = (group.pool, group.load.mode, group.load.colocation_class)
            self._rows.setdefault(sharers, _Rows()).add(group, _left(pool, group.load))

    def likely(self, shapes: Sequence[Shape]) -> list[OpenGpus]:
        """Groups with GPUs that may have room for one of some shapes of one kind."""
        rows = self._rows.get(sharers_of(shapes[0]))
        if rows is None:
            return []
        needed = np.array([_needed(shape) for shape in shapes], dtype=np.int64).min(axis=0)
        fitting = np.flatnonzero((rows.left[: len(rows.groups)] >= needed).all(axis=1))
        return [group for at in fitting if (group := rows.groups[at]).runs]


def _left(pool: Pool, load: GpuLoad) -> tuple[int, ...]:
    host = (pool.host_cores_per_gpu - load.host_cores, pool.host_memory_mib_per_gpu - load.host_memory_mib)
    if load.mode == "mig":
        return (*host, *(_ENDLESS,) * (_COLUMNS - len(host)))
    count = len(load.demands)
    memory_mib = pool.memory_mib - load.memory_mib - load.start_extra_mib
    if load.mode == "mps":
        return (*host, memory_mib, load.most - count - 1, -count, _ENDLESS, _ENDLESS)
    active_permille = min(1000 * pool.max_active_residents, load.limit_permille) - max(load.active_permille)
    return (*host, memory_mib, load.most - count - 1, -count, active_permille, -max(load.active_permille))


def _needed(shape: Shape) -> tuple[int, ...]:
    quietest_permille = min(shape.active_permille)
    return (
        shape.host_cores,
        shape.host_memory_mib,
        shape.memory_mib,
        0,
        1 - shape.max_residents,
        quietest_permille,
        quietest_permille - shape.active_limit_permille,
    )
