"""Plans of the integer program over patterns are legal under every kind of rule, also with hardly any columns or nodes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Problem, blocks_used, cost, nodes_needed, priorities
from solvers.baselines import best_fit
from solvers.exact.effort import Breadth
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.free_gpus import free_gpus
from solvers.exact.plans.mix_dive import MixDive
from solvers.exact.relaxation.cover_cuts import CutRounds
from solvers.exact.relaxation.settling import Settling
from solvers.highs import IntegerLimits
from solvers.model.master import StageGoal
from solvers.solution import trimmed
from tests.brute_force import every_objective
from tests.solvers.exact.plans.test_mix_dive import wrong
from tests.solvers.exact.roots import FEATURES, goals, never, root_of, served_by_best_fit
from tests.strategies import problems, tiny_problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15)


@pytest.mark.parametrize("feature", FEATURES)
@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_whole_numbers_give_legal_plans(feature: str, problem: Problem) -> None:
    problem = FEATURES[feature](problem)
    start = trimmed(problem, best_fit.solve(problem).patterns)
    for goal in goals(problem, served_by_best_fit(problem)):
        for breadth, limits in ((Breadth(), IntegerLimits(60)), (Breadth(1.0, 1, 1, 5), IntegerLimits(0))):
            root = root_of(problem, goal)
            root.run(40, never)
            found = WholeProgram(root, MixDive(root, lambda: False), breadth, start).solve(limits)
            assert found is None or wrong(problem, found) == []


@SLOW
@given(problem=tiny_problems())
def test_cuts_on_numbers_of_gpus_take_no_plan_away(problem: Problem) -> None:
    """Invariant 8, for the cuts that integer programs know."""
    best = min(every_objective(problem))
    goal = StageGoal(None, tuple(zip(priorities(problem), best[:-1], strict=True)))
    costs = []
    for counted in (False, True):
        # a program adds columns to its root, so each has one of its own
        root = root_of(problem, goal)
        root.run(100, never, CutRounds(precise_rounds=5))
        settling = Settling(root, 3)
        settling.every_way(never)
        settling.run(20, never)
        plan = WholeProgram(root, MixDive(root, lambda: False), Breadth(), (), counted=counted).solve(IntegerLimits(10_000))
        costs.append(None if plan is None else cost(problem, trimmed(problem, plan)))
    assert costs[0] == costs[1]


@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_what_a_plan_leaves_free_is_what_the_pools_have_without_what_it_uses(problem: Problem) -> None:
    plan = trimmed(problem, best_fit.solve(problem).patterns)
    *_, goal = goals(problem, served_by_best_fit(problem))
    root = root_of(problem, goal)
    known = [pattern for pattern in plan if any(index in root.offers.number for index in pattern.residents)]
    program = WholeProgram(root, MixDive(root, lambda: False), Breadth(), plan)
    free = free_gpus(root, program.start)
    for index, pool in enumerate(problem.pools):
        used = blocks_used(problem, known, index)
        least = max(nodes_needed(pool, blocks_used(problem, plan, index)), min(pool.min_nodes, pool.nodes))
        nodes = least if pool.billing == "node" else pool.nodes
        assert free[index] == root.master.row_room(index, 1) * min(nodes, pool.nodes) - sum(used.values())
