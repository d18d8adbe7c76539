"""Plans are searched for by the means that the size of the fleet and the time allow."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from planner.problem import Problem
from solvers.exact.effort import Effort, Search
from solvers.exact.plan_search import FEWEST_GPUS, MOST_GPUS, PlanSearch
from solvers.model.useful_shapes import candidates
from tests.solvers.exact.plans.test_mix_dive import wrong
from tests.solvers.exact.roots import goals, never, root_of, served_by_best_fit
from tests.strategies import random_problem


def search_of(problem: Problem, limit_s: float | None) -> PlanSearch:
    *_, goal = goals(problem, served_by_best_fit(problem))
    effort = Effort(time_limit_s=limit_s)
    return PlanSearch(Search(problem, candidates(problem), effort, (), "exact"), goal, root_of(problem, goal), never)


def sized(nodes: int) -> Problem:
    problem = random_problem(1, 4, 3, 8)
    return replace(problem, pools=tuple(replace(pool, nodes=nodes, billing="node") for pool in problem.pools))


@pytest.mark.parametrize(("limit_s", "small"), [(None, True), (60.0, True), (0.1, False)])
def test_precise_steps_are_taken_where_there_is_time_for_them(limit_s: float | None, small: bool) -> None:
    assert search_of(sized(FEWEST_GPUS), limit_s).small is small


def test_the_largest_fleets_are_never_small() -> None:
    assert not search_of(sized(MOST_GPUS + 1), None).small


@pytest.mark.parametrize(("left_s", "dives"), [(None, 2), (60.0, 7)])
def test_large_fleets_dive_to_the_end_of_their_time(left_s: float | None, dives: int) -> None:
    plans = search_of(sized(MOST_GPUS + 1), None)
    plans.search.effort = Effort(time_left_s=lambda: left_s)
    ways = [(1.0, {0: 1}), (2.0, {0: 2})]
    assert len([*islice(plans._again_and_again(ways), 7)]) == dives


def test_a_quick_search_of_a_large_fleet_is_one_dive() -> None:
    plans = search_of(sized(MOST_GPUS + 1), None)
    plans.search.effort = Effort(dives=1, neighbourhoods=0, time_left_s=lambda: 60.0)
    assert [*islice(plans._again_and_again([(1.0, {0: 1}), (2.0, {0: 2})]), 7)] == [(1.0, {0: 1})]
    assert plans._near_a_dive({0: 1}) is None


def test_without_whole_numbers_at_the_bound_plans_are_looked_for_elsewhere() -> None:
    """Branch and bound of the small program over numbers of GPUs and nodes may end with a bound alone."""
    problem = sized(FEWEST_GPUS)
    plans = search_of(problem, None)
    plans.root.run(40, never)
    plans.root.counts.gpus, plans.root.counts.nodes = [], []
    assert all(wrong(problem, plan) == [] for plan in plans.improved(None))


@pytest.mark.parametrize("nodes", [1, FEWEST_GPUS])
def test_plans_are_found_and_improved_on_tiny_and_on_small_fleets(nodes: int) -> None:
    problem = sized(nodes)
    plans = search_of(problem, None)
    plans.root.run(40, never)
    plans.root.counts.solve()
    found = [*plans.found(), *plans.improved(None)]
    assert found
    assert all(wrong(problem, plan) == [] for plan in found)
