"""The goals after unserved demand: what runs stays, and leftovers stay usable, as far as cost allows.

Engines minimise unserved demand, then cost. Between answers that serve alike, policy.goals decides: tier by tier, each a weighted sum of
cost (USD/h), churn (GiB of weights to load) and fragmentation (GPUs that are left but unusable). The answers to choose from are those of
all engines, the same with running engines in place of others that would do the same, what runs now with the replicas it lacks added
beside it or put in place of those that do not suffice, and what runs now as long as it still serves as much. One of those that spare what
runs is taken unless another one gains more than policy.cost_slack_fraction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from planner.choice.beside import patterns_beside, spots_now
from planner.choice.fragmentation import unusable_gpus
from planner.choice.settled import replaced, settled
from planner.plan import TierResult
from planner.problem import MICRO, Pattern, Placed, Problem, Shape, Solution, Spot, cost, unserved, unserved_by_priority, violations
from planner.sizing.blueprint import Blueprint
from planner.spec import Fleet
from planner.spec.goals import Goal

MIB_PER_GIB = 1024

# Digits to which values of a goal are compared: sums of fractions differ in the last ones.
_DIGITS = 9

KEPT = "what runs"
ADDED = "what runs, and more beside it"
REPLACED = "what runs, and others instead of those that do not suffice"


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer that is taken; kept says that it spares what runs although an engine's answer was cheaper."""

    solution: Solution
    kept: bool = False


def choose(fleet: Fleet, blueprint: Blueprint, best: Solution, others: Sequence[Solution]) -> Choice:
    """The best answer by policy.goals among those that leave no more unserved than `best`, which has the least; ties go to the earlier one.

    best comes with the bounds of all engines; they hold for every answer chosen here, as it serves the same.
    """
    problem = blueprint.problem
    least = unserved_by_priority(problem, best.unserved_microrps)
    spots = spots_now(problem)
    running = _legal(problem, best, tuple(Pattern(*spot, count) for spot, count in sorted(spots.items())), KEPT)
    alike = {best.patterns: best}
    sparing = list(_sparing(problem, best, others, spots))
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
    return Choice(_with_bounds(problem, spared or winner, best), kept=spared is not None)


def _spared(fleet: Fleet, blueprint: Blueprint, winner: Solution, sparing: Sequence[Solution]) -> Solution | None:
    """Of the answers that leave most of what runs where it is the one that loads least, if the winner is only a little cheaper."""
    loaded_gib = _loaded_gib(blueprint, winner)
    near: list[tuple[float, int, int]] = []
    for place, solution in enumerate(sparing):
        gain_microusd_per_h = solution.cost_microusd_per_h - winner.cost_microusd_per_h
        loads_gib = _loaded_gib(blueprint, solution)
        if 0 < gain_microusd_per_h <= fleet.policy.cost_slack_fraction * solution.cost_microusd_per_h and loads_gib < loaded_gib:
            near.append((loads_gib, solution.cost_microusd_per_h, place))
    return sparing[min(near)[2]] if near else None


def _sparing(problem: Problem, best: Solution, others: Sequence[Solution], spots: Counter[Spot]) -> Iterator[Solution]:
    """Legal answers that leave most of what runs where it is."""
    if not spots:
        return
    answers = [(ADDED, patterns_beside(problem, spots)), (REPLACED, replaced(problem, spots))]
    answers += [(solution.engine, settled(problem, solution.patterns, spots)) for solution in (best, *others)]
    for engine, patterns in answers:
        solution = _legal(problem, best, patterns, engine)
        if solution is not None:
            yield solution


def churn_gib(blueprint: Blueprint, placed: Sequence[Placed]) -> float:
    """Weights that have to be loaded because nobody has them there yet, in GiB over all GPUs."""
    staying = Counter(blueprint.problem.current) & Counter(placed)
    return sum(_weights_gib(blueprint, item.shape) for item in (Counter(placed) - staying).elements())


def fragmentation_tier(problem: Problem, solution: Solution) -> TierResult:
    """Fragmentation of a plan; no better bound is known than that nothing need be unusable."""
    return _tier("fragmentation_gpus", unusable_gpus(problem, solution), 0.0)


def churn_tier(blueprint: Blueprint, solution: Solution, placed: Sequence[Placed]) -> TierResult:
    """Weights that a plan loads, and a bound: models that must be served and do not run yet are loaded somewhere."""
    problem = blueprint.problem
    running = {problem.shapes[item.shape].demand for item in problem.current}
    loads: dict[int, float] = {}
    for index, shape in enumerate(problem.shapes):
        loads[shape.demand] = min(loads.get(shape.demand, float("inf")), _weights_gib(blueprint, index))
    full = {demand.priority for demand in problem.demands} - {
        problem.demands[i].priority for i, missing in enumerate(solution.unserved_microrps) if missing
    }
    due_gib = sum(
        loads.get(i, 0.0)
        for i, demand in enumerate(problem.demands)
        if demand.priority in full and i not in running and (demand.peak_microrps or demand.min_replicas)
    )
    return _tier("churn_gib", churn_gib(blueprint, placed), due_gib)


def _tier(goal: str, value: float, bound: float) -> TierResult:
    value, bound = round(value, 6), round(min(bound, value), 6)
    return TierResult(goal=goal, value=value, bound=bound, gap_fraction=(value - bound) / value if value > 0 else 0.0, optimised=False)


def _weights_gib(blueprint: Blueprint, index: int) -> float:
    candidate = blueprint.candidates[index]
    return candidate.ledger.weights_mib * candidate.gpus / MIB_PER_GIB


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


def _with_bounds(problem: Problem, chosen: Solution, best: Solution) -> Solution:
    """The bounds hold for every answer that serves as much; it is optimal when it meets them, as the best one would.

    One that differs from the best in the sizes of KV pools alone is the best one: those that run have grown.
    """
    if _but_for_pools(problem, chosen) == _but_for_pools(problem, best):
        return replace(best, patterns=chosen.patterns)
    least = chosen.cost_microusd_per_h <= best.cost_microusd_per_h
    return replace(
        chosen,
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
    return _loaded_gib(blueprint, solution)


def _loaded_gib(blueprint: Blueprint, solution: Solution) -> float:
    """Weights to load when each pattern takes the GPUs in use that spare it most, the largest saving first."""
    now = spots_now(blueprint.problem)
    wanted = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in solution.patterns})
    same = now & wanted
    now, wanted = now - same, wanted - same
    total_gib = sum(count * _sum_gib(blueprint, residents) for (_, residents), count in sorted(wanted.items()))
    pairs = [(_staying_gib(blueprint, spot, pattern), spot, pattern) for spot in now for pattern in wanted if spot[0] == pattern[0]]
    for staying_gib, spot, pattern in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        count = min(now[spot], wanted[pattern])
        total_gib -= count * staying_gib
        now[spot] -= count
        wanted[pattern] -= count
    return total_gib


def _staying_gib(blueprint: Blueprint, spot: Spot, pattern: Spot) -> float:
    return _sum_gib(blueprint, sorted((Counter(spot[1]) & Counter(pattern[1])).elements()))


def _sum_gib(blueprint: Blueprint, residents: Iterable[int]) -> float:
    return sum(_weights_gib(blueprint, index) for index in residents)
