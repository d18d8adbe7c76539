"""What the greedy engines share: the order of demands, the choice of a shape for an unused GPU, and what makes a pass an engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import wraps

from planner.problem import Problem, Solution, Solve, Watch
from solvers.baselines.open_gpus import OpenGpus
from solvers.baselines.packing import Packing
from solvers.model.remembered import per_problem


def at_once(find: Callable[[Problem], Solution]) -> Solve:
    """An engine that passes over the demands once, which ends in a moment whatever the limits; its answer to a Problem is kept."""
    answer_of = per_problem(find)

    @wraps(find)
    def solve(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:  # noqa: ARG001 (as said)
        return answer_of(problem)

    return solve


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


def largest(problem: Problem, shapes: Sequence[int]) -> int:
    """The largest capacity among shapes, in micro-requests/s."""
    return max((problem.shapes[index].capacity_microrps for index in shapes), default=0)


def helps(packing: Packing, shape: int, served_microrps: int) -> bool:
    """Whether one more replica of this shape lowers the shortfall, or counts towards the minimum of replicas."""
    demand = packing.problem.shapes[shape].demand
    return served_microrps > 0 or packing.replicas[demand] < packing.fewest(demand)


def _fresh_shape(packing: Packing, shapes: Sequence[int]) -> tuple[int, int] | None:
    """The shape that serves most per dollar on an unused GPU, and how often there is room for it; None when nothing has room.

    Ties go to what leaves the most to others: more neighbours tolerated, less memory, less compute.
    """
    best: tuple[tuple[float, ...], int, int] | None = None
    rooms: dict[tuple[int, int], int] = {}
    missing_microrps = packing.missing(packing.problem.shapes[shapes[0]].demand) if shapes else 0
    for index in shapes:
        served_microrps = packing.served(index, missing_microrps)
        if not helps(packing, index, served_microrps):
            continue
        shape = packing.problem.shapes[index]
        block = (shape.pool, shape.gpus)
        if block not in rooms:
            rooms[block] = packing.room(index)
        if not rooms[block]:
            continue
        served = max(1, served_microrps)
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
            best = (key, index, rooms[block])
    return None if best is None else best[1:]


def open_fresh(packing: Packing, shapes: Sequence[int], most_microrps: int) -> OpenGpus | None:
    """Open unused GPUs with the shape that serves most per dollar, as many as would be opened one by one; None when nothing has room.

    most_microrps is the largest capacity among the demand's shapes. A MIG slice leaves room for others of its demand: one GPU at a time.
    """
    fresh = _fresh_shape(packing, shapes)
    if fresh is None:
        return None
    index, room = fresh
    count = 1 if packing.problem.shapes[index].mode == "mig" else min(room, packing.alike(index, most_microrps))
    return packing.open(index, count)
