"""The goals after unserved demand: what runs stays, and leftovers stay usable, as far as cost allows.

Engines minimise unserved demand, then cost. Between answers that serve alike, policy.goals decides: tier by tier, each a weighted sum of
cost (USD/h), churn (GiB of weights to load) and fragmentation (GPUs that are left but unusable). The answers to choose from are those of
all engines, those that a search by these goals found, the same with running engines in place of others that would do the same, what runs
now with the replicas it lacks added beside it or put in place of those that do not suffice, and what runs now as long as it still serves
as much. One of those that spare what runs is taken unless another one gains more than policy.cost_slack_fraction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import gt

from planner.choice.beside import patterns_beside
from planner.choice.churn import least_churn_gib
from planner.choice.fragmentation import unusable_gpus
from planner.choice.settled import replaced, settled
from planner.problem import (
    MICRO,
    Pattern,
    Problem,
    Shape,
    Solution,
    cost,
    holdings_now,
    unserved,
    unserved_by_priority,
    violations,
)
from planner.sizing.blueprint import Blueprint
from planner.spec import Fleet
from planner.spec.goals import Goal

# Digits to which values of a goal are compared: sums of fractions differ in the last ones.
_DIGITS = 9

KEPT = "what runs"
ADDED = "what runs, and more beside it"
REPLACED = "what runs, and others instead of those that do not suffice"


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer that is taken; kept says that a cheaper one was left for policy.goals or policy.cost_slack_fraction."""

    solution: Solution
    kept: bool = False


def choose(fleet: Fleet, blueprint: Blueprint, best: Solution, others: Sequence[Solution], sparing: Sequence[Solution]) -> Choice:
    """The best answer by policy.goals among those that leave no more unserved than `best`, which has the least; ties go to the earlier one.

    best comes with the bounds of all engines; they hold for every answer chosen here, as it serves the same. sparing are answers that are
    made to leave what runs where it is; they may spend a part of the cost.
    """
    problem = blueprint.problem
    least = unserved_by_priority(problem, best.unserved_microrps)
    holdings = holdings_now(problem)
    running = _legal(problem, best, tuple(Pattern(*holding, count) for holding, count in sorted(holdings.items())), KEPT)
    alike = {best.patterns: best}
    for solution in (*others, *([running] if running else ()), *sparing):
        if unserved_by_priority(problem, solution.unserved_microrps) == least:
            alike.setdefault(solution.patterns, solution)
    left = list(alike.values())
    for tier in fleet.policy.goals:
        if len(left) == 1:
            break
        values = [round(sum(term.weight * _measured(blueprint, solution, term.goal) for term in tier), _DIGITS) for solution in left]
        left = [solution for solution, value in zip(left, values, strict=True) if value == min(values)]
    winner = left[0]
    spared = _spared(fleet, blueprint, winner, [item for item in (running, *sparing) if item is not None and item.patterns in alike])
    chosen = spared or winner
    return Choice(_with_bounds(problem, chosen, best, others), kept=chosen.cost_microusd_per_h > best.cost_microusd_per_h)


def _spared(fleet: Fleet, blueprint: Blueprint, winner: Solution, sparing: Sequence[Solution]) -> Solution | None:
    """Of the answers that leave most of what runs where it is the one that loads least, if the winner is only a little cheaper."""
    loaded_gib = least_churn_gib(blueprint.problem, winner)
    near: list[tuple[float, int, int]] = []
    for place, solution in enumerate(sparing):
        gain_microusd_per_h = solution.cost_microusd_per_h - winner.cost_microusd_per_h
        loads_gib = least_churn_gib(blueprint.problem, solution)
        if 0 < gain_microusd_per_h <= fleet.policy.cost_slack_fraction * solution.cost_microusd_per_h and loads_gib < loaded_gib:
            near.append((loads_gib, solution.cost_microusd_per_h, place))
    return sparing[min(near)[2]] if near else None


def sparing_answers(problem: Problem, best: Solution, others: Sequence[Solution]) -> Iterator[Solution]:
    """Legal answers made of others and of what runs, which leave most of that where it is."""
    holdings = holdings_now(problem)
    if not holdings:
        return
    for engine, patterns in ((ADDED, patterns_beside(problem, holdings)), (REPLACED, replaced(problem, holdings))):
        solution = _legal(problem, best, patterns, engine)
        if solution is not None:
            yield solution
    for other in (best, *others):
        yield as_it_runs(problem, other)


def as_it_runs(problem: Problem, solution: Solution) -> Solution:
    """An answer with engines that run in place of others that would do the same; the answer itself where that serves less."""
    patterns = settled(problem, solution.patterns, holdings_now(problem))
    found = _legal(problem, solution, patterns, solution.engine)
    return solution if found is None or any(map(gt, found.unserved_microrps, solution.unserved_microrps)) else found


def _legal(problem: Problem, best: Solution, patterns: tuple[Pattern, ...] | None, engine: str) -> Solution | None:
    """Patterns as an answer; None when there are none, or they are no legal answer (any more)."""
    if not patterns:
        return None
    solution = replace(
        best,
        engine=engine,
        patterns=patterns,
        unserved_microrps=unserved(problem, patterns),
        cost_microusd_per_h=cost(problem, patterns),
        bound_microusd_per_h=0,
        bound_unserved_microrps=(0,) * len(best.bound_unserved_microrps),
        status="feasible",
    )
    return None if violations(problem, solution) else solution


def _with_bounds(problem: Problem, chosen: Solution, best: Solution, others: Sequence[Solution]) -> Solution:
    """The bounds hold for every answer that serves as much; it is optimal when it meets them, as the best one would.

    One that differs from an engine's answer in the sizes of KV pools alone is that answer: those that run have grown.
    """
    own = _but_for_pools(problem, chosen)
    if own == _but_for_pools(problem, best):
        return replace(best, patterns=chosen.patterns)
    engine = next((other.engine for other in others if _but_for_pools(problem, other) == own), chosen.engine)
    least = chosen.cost_microusd_per_h <= best.cost_microusd_per_h
    return replace(
        chosen,
        engine=engine,
        bound_microusd_per_h=best.bound_microusd_per_h,
        bound_unserved_microrps=best.bound_unserved_microrps,
        status=best.status if least else "feasible",
    )


def _but_for_pools(problem: Problem, solution: Solution) -> Counter[tuple[int, tuple[Shape, ...]]]:
    """The patterns of an answer with shapes in place of their indexes, whatever memory they take."""
    found: Counter[tuple[int, tuple[Shape, ...]]] = Counter()
    for pattern in solution.patterns:
        shapes = [replace(problem.shapes[index], memory_mib=0, start_extra_mib=0) for index in pattern.residents]
        found[pattern.pool, tuple(sorted(shapes, key=repr))] += pattern.count
    return found


def _measured(blueprint: Blueprint, solution: Solution, goal: Goal) -> float:
    """Value of a goal; churn before places are named, by what may stay on its GPU."""
    if goal == "cost":
        return solution.cost_microusd_per_h / MICRO
    if goal == "fragmentation":
        return unusable_gpus(blueprint.problem, solution)
    return least_churn_gib(blueprint.problem, solution)
