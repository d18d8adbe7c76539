"""What the greedy engines share: the order of demands and the choice of a shape for an unused GPU."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from planner.problem import Problem
from solvers.baselines.packing import OpenGpu, Packing


def order(problem: Problem) -> list[int]:
    """Demands by priority, then load, largest first."""
    demands = problem.demands
    return sorted(range(len(demands)), key=lambda i: (-demands[i].priority, -demands[i].peak_microrps, i))


def shapes_by_demand(problem: Problem, shapes: Iterable[int]) -> dict[int, list[int]]:
    """Shape indexes per demand, in the given order."""
    grouped: defaultdict[int, list[int]] = defaultdict(list)
    for index in shapes:
        grouped[problem.shapes[index].demand].append(index)
    return grouped


def helps(packing: Packing, shape: int) -> bool:
    """Whether one more replica of this shape lowers the shortfall, or counts towards the minimum of replicas.

    The first replica of a demand that tolerates the loss of a node serves nothing until there is a second.
    """
    demand = packing.problem.demands[packing.problem.shapes[shape].demand]
    fewest = max(demand.min_replicas, 1 + demand.tolerate_nodes)
    return packing.served(shape) > 0 or packing.replicas[packing.problem.shapes[shape].demand] < fewest


def _fresh_shape(packing: Packing, shapes: Sequence[int]) -> int | None:
    """The shape that serves most per dollar on an unused GPU; None when nothing has room.

    Ties go to what leaves the most to others: more neighbours tolerated, less memory, less compute.
    """
    best: tuple[tuple[float, ...], int] | None = None
    for index in shapes:
        if not helps(packing, index) or not packing.has_room(index):
            continue
        shape = packing.problem.shapes[index]
        served = max(1, packing.served(index))
        dollars = packing.problem.pools[shape.pool].price_microusd_per_h * shape.gpus
        key = (
            dollars / served,
            -served,
            shape.gpus,
            -shape.active_limit_permille,
            -shape.max_residents,
            shape.memory_mib,
            shape.compute_permille,
            index,
        )
        if best is None or key < best[0]:
            best = (key, index)
    return None if best is None else best[1]


def open_fresh(packing: Packing, shapes: Sequence[int]) -> bool:
    """Open an unused GPU with the shape that serves most per dollar; False when nothing has room."""
    fresh = _fresh_shape(packing, shapes)
    if fresh is not None:
        packing.open(fresh)
    return fresh is not None


class Openings:
    """GPUs in use that may still take a replica of one demand.

    Residents only join and what a demand lacks only shrinks, so a GPU that refuses it once refuses it for good and is never asked
    again: placing n replicas takes time in proportion to n plus the GPUs in use.
    """

    def __init__(self, packing: Packing, shapes: Sequence[int]) -> None:
        """Shapes: those of the demand."""
        self._packing = packing
        self._shapes = shapes
        self._gpus: deque[OpenGpu] = deque()
        self._known = 0

    def first(self) -> tuple[OpenGpu, list[int]] | None:
        """The first GPU that takes one of the shapes, with those it takes."""
        self._learn()
        while self._gpus:
            fitting = self._joinable(self._gpus[0])
            if fitting:
                return self._gpus[0], fitting
            self._gpus.popleft()
        return None

    def every(self) -> list[tuple[OpenGpu, list[int]]]:
        """All GPUs that take one of the shapes, in the order in which they came into use."""
        self._learn()
        offers = [(gpu, fitting) for gpu in self._gpus if (fitting := self._joinable(gpu))]
        self._gpus = deque(gpu for gpu, _ in offers)
        return offers

    def _learn(self) -> None:
        self._gpus.extend(self._packing.sharable[self._known :])
        self._known = len(self._packing.sharable)

    def _joinable(self, gpu: OpenGpu) -> list[int]:
        return [i for i in self._shapes if self._packing.problem.shapes[i].pool == gpu.pool and _joins(self._packing, gpu, i)]


def _joins(packing: Packing, gpu: OpenGpu, index: int) -> bool:
    return helps(packing, index) and packing.may_join(gpu, index)
