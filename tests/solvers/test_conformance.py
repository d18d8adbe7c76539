"""What every engine of the plug-in table owes: legal, honest answers, valid bounds, the same again, and one at once when told to stop.

An engine that says it cannot take a problem (UnavailableError) is skipped with its reason. Invariants 6, 7 and 8.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import (
    Demand,
    Pool,
    Problem,
    Shape,
    Solution,
    Solve,
    Watch,
    objective,
    placement_violations,
    unserved_by_priority,
    violations,
)
from solvers.errors import UnavailableError
from solvers.placement.physical import place
from tests.brute_force import every_objective
from tests.strategies import problems, random_problem, tiny_problems
from ullage.plugins import SOLVERS, load

NAMES = tuple(SOLVERS)
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20)


def engine(name: str) -> Solve:
    solve: Solve = load("solvers", SOLVERS, name)
    return solve


def answered(name: str, problem: Problem, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution | None:
    """The engine's answer, judged; None when it declines the problem."""
    try:
        solution = engine(name)(problem, time_limit_s=time_limit_s, watch=watch)
    except UnavailableError:
        return None
    assert violations(problem, solution) == ()
    assert solution.engine == name
    return solution


@pytest.mark.parametrize("name", NAMES)
@STEADY
@given(problem=problems())
def test_answers_are_legal_honest_and_can_be_placed(name: str, problem: Problem) -> None:
    solution = answered(name, problem)
    if solution is None:
        return
    assert placement_violations(problem, solution, place(problem, solution)) == ()
    met = (*solution.bound_unserved_microrps, solution.bound_microusd_per_h) == objective(problem, solution)
    assert met or solution.status == "feasible"
    assert solution == answered(name, problem)


@STEADY
@given(problem=tiny_problems())
def test_bounds_of_every_engine_hold_against_every_legal_solution(problem: Problem) -> None:
    known = every_objective(problem)
    best = min(known)
    for name, limit_s in product(NAMES, (None, 0.0)):
        solution = answered(name, problem, time_limit_s=limit_s)
        if solution is None:
            continue
        assert best <= objective(problem, solution)
        assert solution.bound_unserved_microrps <= best[:-1], name
        mine_microrps = unserved_by_priority(problem, solution.unserved_microrps)
        as_good = [value for value in known if all(one <= other for one, other in zip(value[:-1], mine_microrps, strict=True))]
        assert solution.bound_microusd_per_h <= min(value[-1] for value in as_good), name


@pytest.mark.parametrize("name", NAMES)
@STEADY
@given(problem=problems())
def test_an_engine_that_is_told_to_stop_has_an_answer(name: str, problem: Problem) -> None:
    answered(name, problem, watch=Watch(report=lambda _: None, stop=lambda: True))
    answered(name, problem, time_limit_s=0.0)


CONTRADICTIONS = {
    "pool of zero nodes": Problem((Pool("p", 0, 8, 100, 1),), (Demand("d", (5,)),), (Shape("s", 0, 0, "exclusive", 9, 5),)),
    "model larger than every GPU": Problem((Pool("p", 1, 8, 100, 1),), (Demand("d", (5,)),), (Shape("s", 0, 0, "exclusive", 101, 5),)),
    "nowhere to live": Problem((Pool("p", 1, 8, 100, 1),), (Demand("d", (5,)),), ()),
    "overflow": Problem((Pool("p", 1, 1, 100, 1),), (Demand("d", (10**15,)),), (Shape("s", 0, 0, "exclusive", 9, 10**12),)),
    "fewest above most replicas": Problem(
        (Pool("p", 1, 8, 100, 1),),
        (Demand("d", (5,), min_replicas=3, max_replicas=1),),
        (Shape("s", 0, 0, "exclusive", 9, 5),),
    ),
    "not with itself": Problem(
        (Pool("p", 1, 8, 100, 1),),
        (Demand("d", (5,), not_with=frozenset([0])),),
        (Shape("s", 0, 0, "time_shared", 9, 5, max_residents=3, active_limit_permille=1000 * 3),),
    ),
}


# What nobody can serve. Of five requests that three replicas should share, one replica leaves two thirds, rounded up.
UNSERVED_MICRORPS = {
    "pool of zero nodes": 5,
    "model larger than every GPU": 5,
    "nowhere to live": 5,
    "overflow": 10**15 - 10**12,
    "fewest above most replicas": 4,
    "not with itself": 0,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CONTRADICTIONS)
@pytest.mark.parametrize("limit_s", [None, 0.0])
def test_contradictions_have_answers(name: str, case: str, limit_s: float | None) -> None:
    problem = CONTRADICTIONS[case]
    try:
        solution = engine(name)(problem, time_limit_s=limit_s)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert violations(problem, solution) == ()
    # without a limit everything is served that can be: serving nothing is no answer
    if limit_s is None:
        assert sum(solution.unserved_microrps) == UNSERVED_MICRORPS[case]


def _bytes() -> str:
    """Every engine's answer to the same few problems."""
    lines: list[str] = []
    for problem in (random_problem(seed, gpus=4, demand_count=4, shape_count=10) for seed in range(6)):
        for name in NAMES:
            try:
                lines.append(repr(engine(name)(problem)))
            except UnavailableError as reason:
                lines.append(str(reason))
    return "\n".join(lines)


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_same_bytes_under_any_hash_seed(hash_seed: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from tests.solvers.test_conformance import _bytes; print(_bytes())"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == _bytes()


def test_an_engine_is_one_line_of_the_table() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 6
    problem = next(iter(CONTRADICTIONS.values()))
    assert all(engine(name)(replace(problem, demands=(), shapes=())).status == "optimal" for name in ("exact", "pulp:cbc"))
