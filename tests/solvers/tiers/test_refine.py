"""Answers by the goals after cost, against brute force: what they load, what they keep, and the bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given

from planner.problem import (
    Demand,
    Pattern,
    Placed,
    Pool,
    Problem,
    Shape,
    Solution,
    cost,
    holdings_now,
    load_mib,
    unserved_by_priority,
    violations,
    weights_mib,
)
from solvers.baselines import first_fit
from solvers.exact import lexicographic
from solvers.placement.physical import place
from solvers.tiers.program import Leftovers, Tier
from solvers.tiers.refine import Refinement, refine
from tests.brute_force import every_answer
from tests.strategies import tiny_problems

USUAL: tuple[Tier, ...] = ({"cost": 1.0}, {"churn": 1.0}, {"fragmentation": 1.0})


def how(problem: Problem, slack_fraction: float = 0.0, tiers: Sequence[Tier] = USUAL) -> Refinement:
    """Refinement that counts two GPUs with one replica as worse than one with two."""
    return Refinement(tiers, slack_fraction, Leftovers(lambda pattern: 1.0 / len(pattern.residents), [0.0] * len(problem.pools)))


def in_use(problem: Problem) -> Problem:
    """The problem with weights, where the answer to half of the demand runs."""
    shapes = tuple(replace(shape, weights_mib=100 * (1 + shape.demand)) for shape in problem.shapes)
    halves = tuple(replace(demand, rate_microrps=tuple(rate // 2 for rate in demand.rate_microrps)) for demand in problem.demands)
    before = replace(problem, shapes=shapes, demands=halves)
    return replace(problem, shapes=shapes, current=place(before, first_fit.solve(before)))


def loaded_mib(problem: Problem, patterns: Sequence[Pattern]) -> int:
    """The least that is loaded when the patterns take the places of what runs, by trying all."""
    now = list(holdings_now(problem).elements())
    wanted = [(pattern.pool, pattern.residents) for pattern in patterns for _ in range(pattern.count)]

    def rest(at: int, free: Counter[int]) -> int:
        if at == len(wanted):
            return 0
        pool, residents = wanted[at]
        tried = [weights_mib(problem, residents) + rest(at + 1, free)]
        for number in sorted({free_number for free_number in free if free[free_number] and now[free_number][0] == pool}):
            left = free - Counter({number: 1})
            tried.append(load_mib(problem, residents, now[number][1]) + rest(at + 1, left))
        return min(tried)

    return rest(0, Counter(range(len(now))))


def alike(problem: Problem, best: Solution, most_microusd_per_h: float) -> list[tuple[Pattern, ...]]:
    """All answers that leave no more unserved than the best and cost no more than that."""
    least = unserved_by_priority(problem, best.unserved_microrps)
    return [
        found.patterns
        for found in every_answer(problem)
        if unserved_by_priority(problem, found.unserved_microrps) == least and found.cost_microusd_per_h <= most_microusd_per_h
    ]


@given(tiny_problems())
def test_invariant_35_no_answer_that_serves_as_much_for_as_little_loads_less(problem: Problem) -> None:
    here = in_use(problem)
    best = lexicographic.solve(here)
    found = refine(here, best, [], how(here))
    least_mib = min(loaded_mib(here, patterns) for patterns in alike(here, best, best.cost_microusd_per_h))
    assert found.least_load_mib <= least_mib
    if found.searched and here.current:
        assert min(loaded_mib(here, each.patterns) for each in (best, *found.solutions)) == least_mib


@given(tiny_problems())
def test_answers_are_legal_and_spend_no_more_than_the_slack(problem: Problem) -> None:
    here = in_use(problem)
    best = lexicographic.solve(here)
    most = best.cost_microusd_per_h / (1 - 0.3)
    found = refine(here, best, [], how(here, slack_fraction=0.3))
    for each in found.solutions:
        assert violations(here, each) == ()
        assert unserved_by_priority(here, each.unserved_microrps) == unserved_by_priority(here, best.unserved_microrps)
        assert each.cost_microusd_per_h == cost(here, each.patterns) <= most * (1 + 1e-6)
    least_mib = min(loaded_mib(here, patterns) for patterns in alike(here, best, most))
    assert found.least_load_mib <= least_mib
    if found.searched and here.current:
        assert min(loaded_mib(here, each.patterns) for each in (best, *found.solutions)) == least_mib


@given(tiny_problems())
def test_where_nothing_runs_nothing_is_searched_for(problem: Problem) -> None:
    found = refine(problem, lexicographic.solve(problem), [], how(problem))
    assert (found.solutions, found.searched) == ((), False)


def three_models(current: tuple[Placed, ...] = ()) -> Problem:
    """Two GPUs for three models of which two fit beside each other, whichever."""
    shapes = tuple(
        Shape(
            f"shape-{i}", i, 0, "time_shared", 40, 10, max_residents=2, active_permille=(100,), compute_permille=0, weights_mib=10 * (i + 1)
        )
        for i in range(3)
    )
    demands = tuple(Demand(f"demand-{i}", (10,)) for i in range(3))
    return Problem((Pool("p", 2, 1, 100, 1_000_000),), demands, shapes, current)


def test_what_runs_together_stays_together() -> None:
    here = three_models((Placed(0, 0, (0,)), Placed(2, 0, (0,))))
    apart = Pattern(0, (0, 1)), Pattern(0, (2,))
    best = lexicographic.solve(replace(here, start=apart))
    [found] = refine(here, replace(best, patterns=apart), [], how(here)).solutions
    assert found.patterns == (Pattern(0, (0, 2)), Pattern(0, (1,)))
    assert loaded_mib(here, found.patterns) == 20


@pytest.mark.parametrize("tiers", [({"churn": 1.0}, {"cost": 1.0}), ({"cost": 1.0, "churn": 0.5},)])
def test_other_orders_of_the_goals(tiers: tuple[Tier, ...]) -> None:
    here = three_models((Placed(0, 0, (0,)), Placed(1, 1, (0,))))
    together = Pattern(0, (0, 1)), Pattern(0, (2,))
    best = replace(lexicographic.solve(here), patterns=together)
    [found] = refine(here, best, [], how(here, tiers=tiers)).solutions
    assert loaded_mib(here, found.patterns) == 30


def test_fragmentation_comes_first_where_it_is_wanted() -> None:
    here = three_models((Placed(0, 0, (0,)), Placed(2, 1, (0,))))
    together = Pattern(0, (0, 2)), Pattern(0, (1,))
    best = replace(lexicographic.solve(here), patterns=together)
    unlike = Leftovers(lambda pattern: float(pattern.residents == (0, 2)), [0.0])
    [found] = refine(
        here, best, [], replace(how(here, tiers=({"fragmentation": 1.0}, {"cost": 1.0}, {"churn": 1.0})), leftovers=unlike)
    ).solutions
    assert (0, 2) not in {pattern.residents for pattern in found.patterns}
    assert loaded_mib(here, found.patterns) == 20


def test_without_time_nothing_is_searched_for_and_the_bound_stands() -> None:
    here = three_models((Placed(0, 0, (0,)), Placed(2, 0, (0,))))
    best = lexicographic.solve(here)
    found = refine(here, best, [], replace(how(here), time_left_s=lambda: 0.0))
    assert (found.solutions, found.least_load_mib) == ((), 20)
