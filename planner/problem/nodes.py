"""What the loss of one node leaves of each demand that tolerates it, once places have names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.problem.model import Placed, Pool, Problem

# pool and node, or (-1, number) of a machine whose GPUs are spread over several pools
Machine = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DemandLoss:
    """The node whose loss hurts a demand most, and the micro-requests/s of its peak that the other replicas cannot carry then."""

    demand: int
    pool: int
    node: int
    missing_microrps: int


def machine(problem: Problem, pool: int, node: int) -> Machine:
    """What is lost together with a node of a pool."""
    machines = problem.pools[pool].machines
    return (-1, machines[node]) if machines else (pool, node)


def node_losses(problem: Problem, placed: Sequence[Placed]) -> tuple[DemandLoss, ...]:
    """The worst loss of each demand with tolerate_nodes that has replicas, in the order of demands."""
    loads_microrps: dict[int, Counter[Machine]] = {i: Counter() for i, demand in enumerate(problem.demands) if demand.tolerate_nodes}
    places: dict[tuple[int, Machine], tuple[int, int]] = {}
    for item in placed:
        shape = problem.shapes[item.shape]
        if shape.demand in loads_microrps:
            where = machine(problem, shape.pool, item.node)
            loads_microrps[shape.demand][where] += shape.capacity_microrps
            places.setdefault((shape.demand, where), (shape.pool, item.node))
    found: list[DemandLoss] = []
    for i, loads in loads_microrps.items():
        if loads:
            worst = min(loads, key=lambda where: (-loads[where], where))
            missing = problem.demands[i].peak_microrps - (loads.total() - loads[worst])
            found.append(DemandLoss(i, *places[i, worst], max(0, missing)))
    return tuple(found)


def with_reserve(problem: Problem, losses: Sequence[DemandLoss]) -> Problem:
    """The problem asked for more: what a loss leaves missing is added to the rate, and where nodes are paid whole one more is paid.

    Its solutions are solutions of the problem itself, with capacity to spare.
    """
    demands, pools = list(problem.demands), list(problem.pools)
    for loss in losses:
        if loss.missing_microrps:
            demand = demands[loss.demand]
            demands[loss.demand] = replace(demand, rate_microrps=(demand.peak_microrps + loss.missing_microrps,))
            pools[loss.pool] = _one_more_node(pools[loss.pool])
    return replace(problem, demands=tuple(demands), pools=tuple(pools))


def _one_more_node(pool: Pool) -> Pool:
    return replace(pool, min_nodes=min(pool.nodes, max(2, pool.min_nodes + 1))) if pool.billing == "node" else pool


def without_tolerance(problem: Problem, demands: Sequence[int]) -> Problem:
    """The problem in which these demands need not survive the loss of a node."""
    return replace(
        problem,
        demands=tuple(replace(demand, tolerate_nodes=0) if i in demands else demand for i, demand in enumerate(problem.demands)),
    )
