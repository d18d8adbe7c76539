"""The same problem with pools so large that no engine runs out of room."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from planner.problem import Pool, Problem
from solvers.model.useful_shapes import usable_shapes


def unlimited(problem: Problem) -> Problem:
    """Pools with a node for every replica that any demand could use; an engine that does not fit can then be priced.

    No mix in which every replica is needed has more of them than the smallest shape takes. Node size, price and everything else stay as
    they are. Pools without any node stay empty: they are no place to run.
    """
    replicas: Counter[tuple[int, int]] = Counter()
    for index in usable_shapes(problem):
        shape = problem.shapes[index]
        demand = problem.demands[shape.demand]
        by_load = -(-demand.peak_microrps // shape.capacity_microrps) if shape.capacity_microrps else 0
        wanted = min(max(by_load + demand.tolerate_nodes, demand.min_replicas), demand.max_replicas)
        replicas[shape.pool, shape.demand] = max(replicas[shape.pool, shape.demand], wanted)
    nodes: Counter[int] = Counter()
    for (pool, _), wanted in replicas.items():
        nodes[pool] += wanted
    return replace(problem, pools=tuple(_grown(pool, nodes[i]) for i, pool in enumerate(problem.pools)))


def _grown(pool: Pool, replicas: int) -> Pool:
    return replace(pool, nodes=max(pool.nodes, replicas)) if pool.nodes else pool
