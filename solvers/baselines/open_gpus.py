"""GPUs in use that hold the same shapes, counted rather than listed, and which shape may join them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from heapq import heappop, heappush

from planner.problem import Pool, Shape
from solvers.model.useful_shapes import takes_whole_gpus


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """What the shapes on one GPU add up to; all of them have the same mode and colocation class, and none takes whole GPUs.

    limit_permille bounds the sum of activities, most the number of shapes: the tightest of the residents' own limits.
    """

    mode: str
    colocation_class: str
    demands: tuple[int, ...]
    profiles: tuple[str, ...]
    memory_mib: int
    start_extra_mib: int
    host_cores: int
    host_memory_mib: int
    compute_permille: int
    bandwidth_permille: int
    active_permille: tuple[int, ...]
    most: int
    limit_permille: int

    @classmethod
    def of(cls, shape: Shape) -> GpuLoad:
        """One shape alone."""
        return cls(
            shape.mode,
            shape.colocation_class,
            (shape.demand,),
            (shape.mig_profile or "",),
            shape.memory_mib,
            shape.start_extra_mib,
            shape.host_cores,
            shape.host_memory_mib,
            shape.compute_permille,
            shape.bandwidth_permille,
            shape.active_permille,
            shape.max_residents,
            shape.active_limit_permille,
        )

    def plus(self, shape: Shape) -> GpuLoad:
        """With one shape more."""
        return GpuLoad(
            self.mode,
            self.colocation_class,
            (*self.demands, shape.demand),
            tuple(sorted((*self.profiles, shape.mig_profile or ""))),
            self.memory_mib + shape.memory_mib,
            max(self.start_extra_mib, shape.start_extra_mib),
            self.host_cores + shape.host_cores,
            self.host_memory_mib + shape.host_memory_mib,
            self.compute_permille + shape.compute_permille,
            self.bandwidth_permille + shape.bandwidth_permille,
            _together(self.active_permille, shape.active_permille),
            min(self.most, shape.max_residents),
            min(self.limit_permille, shape.active_limit_permille),
        )


def _together(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Sums by window; one number counts for all windows."""
    windows = max(len(one), len(other))
    pairs = zip(one if len(one) == windows else one * windows, other if len(other) == windows else other * windows, strict=True)
    return tuple(mine + theirs for mine, theirs in pairs)


def may_join(load: GpuLoad, shape: Shape, pool: Pool, apart: Set[int]) -> bool:
    """Whether a shape of the pool that is legal alone may join shapes that are legal together, layouts of MIG aside.

    apart holds the demands that may not sit beside the shape's.
    """
    if takes_whole_gpus(shape) or shape.mode != load.mode or shape.colocation_class != load.colocation_class:
        return False
    if load.host_cores + shape.host_cores > pool.host_cores_per_gpu:
        return False
    if load.host_memory_mib + shape.host_memory_mib > pool.host_memory_mib_per_gpu or not apart.isdisjoint(load.demands):
        return False
    return shape.mode == "mig" or (shape.demand not in load.demands and _shares_fit(pool, load, shape))


def _shares_fit(pool: Pool, load: GpuLoad, shape: Shape) -> bool:
    count = len(load.demands) + 1
    if load.memory_mib + shape.memory_mib + max(load.start_extra_mib, shape.start_extra_mib) > pool.memory_mib:
        return False
    if count > min(load.most, shape.max_residents):
        return False
    compute_permille = load.compute_permille + shape.compute_permille
    bandwidth_permille = load.bandwidth_permille + shape.bandwidth_permille
    if shape.mode == "mps":
        return count <= pool.max_active_residents and compute_permille <= 1000 and bandwidth_permille <= 1000
    limit_permille = min(1000 * pool.max_active_residents, load.limit_permille, shape.active_limit_permille)
    return (
        compute_permille + pool.resident_cost_permille * (count - 1) <= pool.compute_limit_permille
        and bandwidth_permille <= pool.compute_limit_permille
        and max(_together(load.active_permille, shape.active_permille)) <= limit_permille
    )


@dataclass(slots=True)
class OpenGpus:
    """GPUs (or blocks) in use that hold the same shapes.

    runs holds the numbers that they got when they came into use, as first number and count of neighbours: a heap, lowest first.
    load is None where a shape takes whole GPUs, which nobody joins.
    """

    pool: int
    residents: tuple[int, ...]
    load: GpuLoad | None
    runs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The lowest number among them; there must be one."""
        return self.runs[0][0]

    @property
    def in_a_row(self) -> int:
        """How many numbers follow each other from the lowest on."""
        return self.runs[0][1]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.runs)

    def add(self, first: int, count: int) -> None:
        """Count GPUs that come to hold these shapes."""
        heappush(self.runs, (first, count))

    def take(self, count: int) -> int:
        """Take the lowest off, no more than are in a row; returns their first number."""
        first, held = heappop(self.runs)
        if held > count:
            heappush(self.runs, (first + count, held - count))
        return first
