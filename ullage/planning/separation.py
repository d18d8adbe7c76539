"""Plans in which replicas that must be on different machines are: solve, name places, and mend what places show to be together.

Engines count such replicas only (`planner.problem.counted`): no more than machines, no two on one GPU. Whether they can be on different
machines is known when places are named. Where some are together, what is surplus on a machine is taken off, others are added beside the
rest where there is room, and the problem is asked again in tighter words, a few times. The best of all these answers keeps the rule;
what it leaves unserved is reported like any other demand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from planner.assembly.certificate import Outcome
from planner.choice.beside import cheapest_addition
from planner.problem import (
    Pattern,
    Placed,
    Problem,
    Solution,
    apart_counts,
    counted,
    machines,
    most_apart,
    objective,
    pool_cost,
    shared_machines,
    shortfall,
    unserved_by_priority,
    violations,
)
from solvers.placement.physical import place
from solvers.solution import answer, with_bounds

# times that the problem is asked again in tighter words
MOST_QUESTIONS = 3

AskPortfolio = Callable[[Problem], Outcome]


def kept_apart(ask: AskPortfolio) -> AskPortfolio:
    """The same, with answers whose places (solvers.placement) have replicas that must be apart on different machines."""
    return lambda problem: _kept_apart(problem, ask) if any(demand.spread_nodes for demand in problem.demands) else ask(problem)


def _kept_apart(problem: Problem, ask: AskPortfolio) -> Outcome:
    first = ask(problem)
    alone = _thinned(problem, first.best)
    baselines = {name: _baseline(problem, *item) for name, item in first.baselines.items()}
    if first.kept and alone.patterns == answer(problem, "", first.best.patterns).patterns:
        return replace(first, best=_bounded(problem, alone, first), baselines=baselines)
    found = [(_filled(problem, alone), first)]
    question, last = counted(problem), first
    for _ in range(MOST_QUESTIONS):
        tighter = _tighter(problem, question, last.best, alone)
        if tighter == question:
            break
        question, last = tighter, ask(tighter)
        alone = _thinned(problem, last.best)
        found.append((_filled(problem, alone), last))
    # no worse than any baseline that is held to the same rule
    found += [(solution, replace(first, kept=False)) for solution, fits in baselines.values() if fits and not violations(problem, solution)]
    best, source = min(found, key=lambda item: objective(problem, item[0]))
    return replace(first, best=_bounded(problem, best, first), baselines=baselines, kept=source.kept)


def _filled(problem: Problem, solution: Solution) -> Solution:
    """The answer with more replicas, beside the others, of demands that must be apart and lack some, where that serves more."""
    for demand, asked in enumerate(problem.demands):
        # as much as it lacks, then what a large replica of it would carry, until there is no room for the smallest
        while asked.spread_nodes and solution.unserved_microrps[demand]:
            more = next((item for item in _additions(problem, solution, demand) if _better(problem, item, solution)), None)
            if more is None:
                break
            solution = more
    return solution


def _additions(problem: Problem, solution: Solution, demand: int) -> Iterator[Solution]:
    missing_microrps, peak_microrps = solution.unserved_microrps[demand], problem.demands[demand].peak_microrps
    parts = {shape.capacity_microrps for shape in problem.shapes if shape.demand == demand and shape.capacity_microrps < missing_microrps}
    spots = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in solution.patterns})
    for part_microrps in (missing_microrps, *sorted(parts, reverse=True)):
        less = replace(problem.demands[demand], rate_microrps=(peak_microrps - missing_microrps + part_microrps,))
        asked = replace(problem, demands=(*problem.demands[:demand], less, *problem.demands[demand + 1 :]))
        addition = cheapest_addition(asked, demand, spots)
        if addition is not None and addition.replicas:
            yield _thinned(problem, replace(solution, patterns=addition.patterns))


def _better(problem: Problem, one: Solution, other: Solution) -> bool:
    return objective(problem, one) < objective(problem, other)


def _thinned(problem: Problem, found: Solution) -> Solution:
    """The answer without replicas that are together with a larger one of theirs, as places are named; every round takes some off."""
    solution = answer(problem, found.engine, found.patterns)
    while True:
        placed = place(problem, solution)
        surplus = {index for shared in shared_machines(problem, placed) for index in _smaller(problem, placed, shared.replicas)}
        if not surplus:
            return solution
        left: dict[tuple[int, int, tuple[int, ...]], list[int]] = {}
        for index, item in enumerate(placed):
            if index not in surplus:
                left.setdefault((problem.shapes[item.shape].pool, item.node, item.gpus), []).append(item.shape)
        solution = answer(problem, found.engine, [Pattern(pool, tuple(residents)) for (pool, _, _), residents in left.items()])


def _smaller(problem: Problem, placed: tuple[Placed, ...], replicas: tuple[int, ...]) -> tuple[int, ...]:
    """All but the one that carries most."""
    return tuple(sorted(replicas, key=lambda index: (-problem.shapes[placed[index].shape].capacity_microrps, index))[1:])


def _tighter(problem: Problem, question: Problem, solution: Solution, alone: Solution) -> Problem:
    """The question with what the answer shows to be wrong with it; alone is what is left of the answer when all are apart.

    Where nodes are paid whole, those that its replicas need on different ones are paid. A demand with more replicas in a pool than machines
    does without this pool, if there is another; one whose places are together gets as many replicas as were apart.
    """
    demands, pools = list(question.demands), list(question.pools)
    barred: set[tuple[int, int]] = set()
    for index, pool in enumerate(question.pools):
        counts = apart_counts(problem, solution.patterns, index)
        if counts and pool_cost(problem, solution.patterns, index) > pool_cost(question, solution.patterns, index):
            pools[index] = replace(pool, min_nodes=min(pool.nodes, max(counts.values())))
        elsewhere = {shape.demand for shape in question.shapes if shape.pool != index and question.pools[shape.pool].nodes}
        barred |= {(demand, index) for demand, count in counts.items() if count > machines(problem, [index]) and demand in elsewhere}
    apart = _replicas(problem, alone)
    for demand, count in _replicas(problem, solution).items():
        if apart[demand] < count and not any(demand == other for other, _ in barred):
            demands[demand] = replace(demands[demand], max_replicas=max(1, apart[demand]))
    shapes = tuple(replace(shape, capacity_microrps=0) if (shape.demand, shape.pool) in barred else shape for shape in question.shapes)
    return replace(question, demands=tuple(demands), pools=tuple(pools), shapes=shapes)


def _replicas(problem: Problem, solution: Solution) -> Counter[int]:
    """Replicas of each demand."""
    found: Counter[int] = Counter()
    for pattern in solution.patterns:
        for index in pattern.residents:
            found[problem.shapes[index].demand] += pattern.count
    return found


def _baseline(problem: Problem, solution: Solution, fits: bool) -> tuple[Solution, bool]:
    """A baseline's answer held to the rule; one that was given larger pools stays as it is."""
    if violations(counted(problem), solution):
        return solution, fits
    return _thinned(problem, solution), fits


def _bounded(problem: Problem, best: Solution, first: Outcome) -> Solution:
    """The answer with the bounds of the first question, which the rule can only raise; that on cost holds for what serves as much."""
    served, asked = (unserved_by_priority(problem, item.unserved_microrps) for item in (best, first.best))
    as_much = all(mine <= theirs for mine, theirs in zip(served, asked, strict=True))
    # a demand that asks for more replicas than there are machines cannot have them
    lacking = [
        shortfall(demand, demand.peak_microrps, most_apart(problem, i), 0) if demand.spread_nodes else 0
        for i, demand in enumerate(problem.demands)
    ]
    bound_microrps = max(first.best.bound_unserved_microrps, unserved_by_priority(problem, lacking))
    return with_bounds(problem, best, bound_microrps, first.best.bound_microusd_per_h if as_much else 0)
