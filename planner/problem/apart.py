"""Replicas that must be on different machines: what counts tell of that, what engines are asked instead, and the judge of places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from planner.problem.model import Demand, Pattern, Placed, Problem
from planner.problem.nodes import Machine, machine


@dataclass(frozen=True, slots=True)
class SharedMachine:
    """Several replicas of a demand with spread_nodes on one machine, by their indexes in what was placed."""

    demand: int
    replicas: tuple[int, ...]


def shared_machines(problem: Problem, placed: Sequence[Placed]) -> tuple[SharedMachine, ...]:
    """Where replicas that must be apart are together, in the order of demands and machines."""
    here: defaultdict[tuple[int, Machine], list[int]] = defaultdict(list)
    for index, item in enumerate(placed):
        shape = problem.shapes[item.shape]
        if problem.demands[shape.demand].spread_nodes:
            here[shape.demand, machine(problem, shape.pool, item.node)].append(index)
    return tuple(SharedMachine(demand, tuple(indexes)) for (demand, _), indexes in sorted(here.items()) if len(indexes) > 1)


def machines(problem: Problem, pools: Iterable[int]) -> int:
    """Machines that have nodes in any of these pools."""
    return len({machine(problem, pool, node) for pool in pools for node in range(problem.pools[pool].nodes)})


def most_apart(problem: Problem, demand: int) -> int:
    """Most replicas of a demand when each is on a machine of its own."""
    return machines(problem, {shape.pool for shape in problem.shapes if shape.demand == demand})


def apart_counts(problem: Problem, patterns: Sequence[Pattern], pool: int) -> dict[int, int]:
    """Replicas in a pool of each demand with spread_nodes that has any there."""
    found: defaultdict[int, int] = defaultdict(int)
    for pattern in patterns:
        for index in pattern.residents if pattern.pool == pool else ():
            if problem.demands[problem.shapes[index].demand].spread_nodes:
                found[problem.shapes[index].demand] += pattern.count
    return dict(found)


def counted(problem: Problem) -> Problem:
    """The problem as engines are asked it: spread_nodes in the words of rules that they know, each implied by it.

    A demand has at most as many replicas as there are machines for it, and keeps away from itself on a GPU. So every answer to the problem
    answers this one too, at no higher a cost, and bounds of this one hold for the problem.
    """
    return replace(problem, demands=tuple(_counted(problem, i, demand) for i, demand in enumerate(problem.demands)))


def _counted(problem: Problem, index: int, demand: Demand) -> Demand:
    if not demand.spread_nodes:
        return demand
    most = min(demand.max_replicas, max(1, most_apart(problem, index)))
    return replace(demand, spread_nodes=False, max_replicas=most, not_with=demand.not_with | {index})
