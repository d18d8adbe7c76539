"""Plans that dives find are legal under every kind of rule."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Pattern, Problem, pattern_violations, violations
from solvers.exact.effort import completed, value_of_plan
from solvers.exact.plans.mix_dive import MixDive, Near
from solvers.exact.plans.packed import too_many
from solvers.exact.relaxation.node_numbers import nodes_of
from solvers.solution import answer, trimmed
from tests.solvers.exact.roots import FEATURES, goals, never, root_of, served_by_best_fit
from tests.strategies import problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15)


def wrong(problem: Problem, patterns: tuple[Pattern, ...]) -> list[str]:
    """What is wrong with single GPUs, and with the plan that a stage makes of the patterns."""
    alone = [sentence for pattern in patterns for sentence in pattern_violations(problem, pattern)]
    return [*alone, *violations(problem, answer(problem, "test", trimmed(problem, completed(problem, patterns))))]


def most_exceeded(problem: Problem, patterns: tuple[Pattern, ...]) -> bool:
    """Whether a demand has more replicas than it may."""
    replicas: Counter[int] = Counter()
    for pattern in patterns:
        for index in pattern.residents:
            replicas[problem.shapes[index].demand] += pattern.count
    return any(count > problem.demands[demand].max_replicas for demand, count in replicas.items())


@pytest.mark.parametrize("feature", FEATURES)
@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_dives_give_legal_plans(feature: str, problem: Problem) -> None:
    problem = FEATURES[feature](problem)
    for goal in goals(problem, served_by_best_fit(problem)):
        root = root_of(problem, goal)
        root.run(40, never)
        if root.answer is None:
            continue
        dive = MixDive(root, lambda: False)
        dive.relax(4)
        for _, way in dive.ways(1, lambda: False)[:2]:
            for patterns in dive.run(way, Near(3, partial(value_of_plan, problem))):
                assert wrong(problem, patterns) == []
                assert not most_exceeded(problem, patterns)
                left_out = Counter((each.pool, each.residents) for each in too_many(problem, patterns, {}))
                held = [Pattern(p.pool, p.residents, p.count - left_out[p.pool, p.residents]) for p in patterns]
                assert violations(problem, answer(problem, "test", held)) == ()


@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_dives_leave_no_bounds_behind(problem: Problem) -> None:
    for goal in goals(problem, served_by_best_fit(problem)):
        root = root_of(problem, goal)
        root.run(40, never)
        dive = MixDive(root, lambda: False)
        before = dive.relax(8)
        for _, way in dive.ways(1, lambda: False)[:1]:
            *_, _ = dive.run(way, Near(2, partial(value_of_plan, problem)))
        after = root.program.solver.solve()
        # mixes that dives add can only help
        assert before is None or (after is not None and after.value <= before.value + 1e-6 * max(1.0, abs(before.value)))


@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_numbers_of_nodes_lie_around_those_of_the_relaxation_with_mixes(problem: Problem) -> None:
    for goal in goals(problem, served_by_best_fit(problem)):
        root = root_of(problem, goal)
        root.run(40, never)
        dive = MixDive(root, lambda: False)
        relaxed = dive.relax(4)
        where = nodes_of(root.program.columns)
        if relaxed is None or not where:
            continue
        again = root.program.solver.solve()
        assert again is not None
        values = []
        for value, way in dive.ways(0, lambda: False):
            values.append(value)
            assert all(abs(number - again.columns[root.program.at(where[pool])]) < 1.0 for pool, number in way.items())
        assert values == sorted(values)
