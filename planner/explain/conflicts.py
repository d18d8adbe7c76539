"""Irreducible sets of demands and rules that cannot all be met, found by leaving some of them out and solving again.

Only demands of the same or a higher priority can keep a demand out, so the others are left out from the start. What is asked of an engine
is feasibility alone: everything is free of charge and of one priority, so that it stops as soon as all is served or that is disproved.
The method is QuickXplain (Junker, AAAI 2004): about k log(n/k) questions for k of n members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from planner.plan import Conflict
from planner.problem import MICRO, Problem, Resolve, Solution, counted
from planner.sizing.blueprint import Blueprint


@dataclass(frozen=True, slots=True)
class Member:
    """Something that may be left out: a demand, its wish for several replicas, its distance from another one, or that of all teams."""

    kind: Literal["demand", "min_replicas", "not_with", "isolate_teams"]
    demand: int
    other: int = -1


def conflicts(blueprint: Blueprint, solution: Solution, answer: Resolve, most_models: int, most_solves: int) -> tuple[Conflict, ...]:
    """A conflict for each of the most_models unserved models of highest priority, with at most most_solves questions each."""
    problem = counted(blueprint.problem)
    short = [i for i, missing in enumerate(solution.unserved_microrps) if missing and any(s.demand == i for s in problem.shapes)]
    short.sort(key=lambda i: (-problem.demands[i].priority, i))
    return tuple(_conflict(blueprint, demand, answer, most_solves) for demand in short[:most_models])


def _conflict(blueprint: Blueprint, demand: int, answer: Resolve, most_solves: int) -> Conflict:
    problem = counted(blueprint.problem)
    oracle = _Oracle(problem, demand, answer, most_solves)
    members = _members(problem, demand)
    if not oracle.disproved(members):
        # what cannot be shown to be impossible together has no conflict to name
        return Conflict(served_name=blueprint.groups[demand].name, members=(), proven=False)
    found = () if oracle.disproved(()) else tuple(_irreducible(oracle.disproved, (), (), members))
    words = tuple(_words(blueprint, member) for member in sorted(found, key=members.index))
    return Conflict(served_name=blueprint.groups[demand].name, members=(_own(blueprint, demand), *words), proven=not oracle.unsure)


def _irreducible(
    disproved: Callable[[Sequence[Member]], bool], background: Sequence[Member], added: Sequence[Member], members: Sequence[Member]
) -> list[Member]:
    """Members without any of which, beside the background, nothing is disproved any more; together with it they are."""
    if added and disproved(background):
        return []
    if len(members) == 1:
        return list(members)
    half = len(members) // 2
    first, second = members[:half], members[half:]
    right = _irreducible(disproved, (*background, *first), first, second)
    left = _irreducible(disproved, (*background, *right), right, first)
    return [*left, *right]


@dataclass(slots=True)
class _Oracle:
    """Asks the engine whether a set can be met; unsure when it could not say, or was not asked any more."""

    problem: Problem
    demand: int
    answer: Resolve
    left: int
    unsure: bool = field(default=False, init=False)

    def disproved(self, members: Sequence[Member]) -> bool:
        """Whether the demand and the members are proven to be impossible together."""
        if self.left <= 0:
            self.unsure = True
            return False
        self.left -= 1
        solution = self.answer(_only(self.problem, self.demand, members))
        if any(solution.bound_unserved_microrps):
            return True
        self.unsure = self.unsure or any(solution.unserved_microrps)
        return False


def _members(problem: Problem, demand: int) -> tuple[Member, ...]:
    """What may be in conflict with a demand: others of at least its priority, minimum numbers of replicas, and distances among them."""
    priority = problem.demands[demand].priority
    rivals = [i for i, other in enumerate(problem.demands) if i != demand and other.priority >= priority]
    present = sorted([demand, *rivals])
    found = [Member("demand", i) for i in rivals]
    found += [Member("min_replicas", i) for i in present if problem.demands[i].min_replicas > 1]
    found += [Member("isolate_teams", demand)] if any(shape.colocation_class for shape in problem.shapes) else []
    found += [Member("not_with", i, j) for i in present for j in sorted(problem.demands[i].not_with) if i < j and j in present]
    return tuple(found)


def _only(problem: Problem, demand: int, members: Sequence[Member]) -> Problem:
    """The problem with nothing but the demand and the members, free of charge."""
    kept = {demand} | {member.demand for member in members if member.kind == "demand"}
    counted = {member.demand for member in members if member.kind == "min_replicas"}
    isolated = any(member.kind == "isolate_teams" for member in members)
    apart = {frozenset((member.demand, member.other)) for member in members if member.kind == "not_with"}
    demands = tuple(
        replace(
            item,
            rate_microrps=item.rate_microrps if i in kept else (0,) * len(item.rate_microrps),
            min_replicas=(item.min_replicas if i in counted else min(1, item.min_replicas)) if i in kept else 0,
            priority=0,
            # those that must be apart keep away from themselves
            not_with=frozenset(j for j in item.not_with if i == j or frozenset((i, j)) in apart),
        )
        for i, item in enumerate(problem.demands)
    )
    return replace(
        problem,
        pools=tuple(replace(pool, price_microusd_per_h=0, billing="gpu", min_nodes=0) for pool in problem.pools),
        demands=demands,
        shapes=tuple(shape if isolated else replace(shape, colocation_class="") for shape in problem.shapes if shape.demand in kept),
        current=(),
    )


def _own(blueprint: Blueprint, demand: int) -> str:
    group = blueprint.groups[demand]
    pools = [pool for pool in blueprint.pools if group.allows(pool.name)]
    gpus = sum(pool.max_nodes * pool.gpus_per_node for pool in pools)
    where = f"{gpus} GPU{'s' if gpus != 1 else ''} of {', '.join(pool.name for pool in pools)}"
    apart = ", its replicas on different machines (spread: nodes)" if group.spread_nodes else ""
    return f"{group.name} asks for {group.peak_rps:.3g} requests/s on {where}{apart}"


def _words(blueprint: Blueprint, member: Member) -> str:
    demand = blueprint.problem.demands[member.demand]
    if member.kind == "min_replicas":
        return f"{demand.name} needs at least {demand.min_replicas} replicas (min_replicas)"
    if member.kind == "isolate_teams":
        return "no GPU is shared between teams (policy.isolate_teams)"
    if member.kind == "not_with":
        return f"{demand.name} and {blueprint.problem.demands[member.other].name} may not share a GPU (not_with)"
    return f"{demand.name} asks for {demand.peak_microrps / MICRO:.3g} requests/s at priority {demand.priority}"
