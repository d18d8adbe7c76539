"""What one more GPU of each pool would buy, by solving again with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.plan import OneMore
from planner.problem import MICRO, Pool, Problem, Resolve, Solution, blocks_used, counted, nodes_needed
from planner.sizing.blueprint import Blueprint


def full_pools(problem: Problem, solution: Solution) -> tuple[int, ...]:
    """Pools whose GPUs are all in use (where nodes are paid: whose nodes are): only of these can more be worth anything.

    A pool without nodes counts. One whose rest is too small for a tensor-parallel block that somebody waits for counts too.
    """
    found = []
    for index, pool in enumerate(problem.pools):
        used = blocks_used(problem, solution.patterns, index)
        waiting = {shape.gpus for shape in problem.shapes if shape.pool == index and solution.unserved_microrps[shape.demand]}
        largest = max(waiting, default=1)
        room = pool.nodes - nodes_needed(pool, {**used, largest: used.get(largest, 0) + largest})
        if room < 0 or (pool.billing == "node" and nodes_needed(pool, used) >= pool.nodes):
            found.append(index)
    return tuple(found)


def one_more(blueprint: Blueprint, solution: Solution, pools: Sequence[int], answer: Resolve) -> tuple[OneMore, ...]:
    """For each of the pools the solution with one more GPU of it, a whole node where nodes are paid, against the given one."""
    return tuple(_bought(blueprint, solution, index, answer) for index in pools)


def _bought(blueprint: Blueprint, before: Solution, index: int, answer: Resolve) -> OneMore:
    problem = blueprint.problem
    pool = problem.pools[index]
    whole = pool.billing == "node"
    # one GPU more is in a machine that is there, and _with_gpu makes one of all of them
    after = answer(_with_node(problem, index) if whole else _with_gpu(counted(problem), index))
    gained = {
        group.name: (missing - left) / MICRO
        for group, missing, left in zip(blueprint.groups, before.unserved_microrps, after.unserved_microrps, strict=True)
        if missing != left
    }
    return OneMore(
        pool=pool.name,
        unit="node" if whole else "gpu",
        gpus=pool.gpus_per_node if whole else 1,
        served_rps=dict(sorted(gained.items())),
        cost_usd_per_h=after.cost_microusd_per_h / MICRO,
        proven=before.status == after.status == "optimal",
    )


def _with_node(problem: Problem, index: int) -> Problem:
    pools = tuple(replace(pool, nodes=pool.nodes + (i == index)) for i, pool in enumerate(problem.pools))
    return replace(problem, pools=pools, current=())


def _with_gpu(problem: Problem, index: int) -> Problem:
    """The pool as one node of all its GPUs and one more.

    Blocks that divide a node lie there as they do in the nodes, and a pool of its own for one GPU would double every choice.
    """
    pool = problem.pools[index]
    sizes = tuple(size for size in pool.block_sizes if pool.gpus_per_node % size == 0)
    larger: Pool = replace(pool, nodes=1, gpus_per_node=pool.gpus + 1, block_sizes=sizes)
    pools = tuple(larger if i == index else other for i, other in enumerate(problem.pools))
    shapes = tuple(shape for shape in problem.shapes if shape.pool != index or shape.gpus in sizes)
    return replace(problem, pools=pools, shapes=shapes, current=())
