"""No baseline ever beats the portfolio, nor the exact engine alone, whatever the limits. Invariant 7."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.race_model import Gpu, Model, Race, exclusive_problem, sharing_problem
from planner.problem import Problem, Watch, objective, violations
from solvers.exact import lexicographic as exact
from solvers.portfolio import solve_all
from tests.strategies import problems
from ullage.plugins import BASELINES, SOLVERS, load

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
ENGINES = {name: load("solvers", SOLVERS, name) for name in ("exact", *BASELINES)}
STOPPED = Watch(report=lambda _: None, stop=lambda: True)


def random_race(seed: int) -> Race:
    """A fleet of two GPU types and a handful of models that share them or do not fit at all."""
    rng = Random(seed)
    gpus = tuple(
        Gpu(name, cost_usd_per_h, usable_mib, rng.randint(0, 6))
        for name, cost_usd_per_h, usable_mib in (("small", 1.01, 21_000), ("large", 3.67, 76_000))
    )
    models = tuple(
        Model(
            name=f"m{i}",
            rate_rps=round(rng.choice([0.0, 0.3, 1.0, 3.0, 20.0]) * rng.uniform(0.5, 1.5), 3),
            weights_gib=rng.choice([2.5, 16.0, 28.5, 65.0]),
            request_mib=rng.uniform(10.0, 400.0),
            output_tokens=rng.choice([64.0, 256.0]),
            step_s=0.1,
            capacity_rps={gpu.name: rng.uniform(1.0, 12.0) for gpu in gpus if rng.random() < 0.9},
        )
        for i in range(rng.randint(1, 8))
    )
    return Race(gpus, models)


def never_worse(problem: Problem, time_limit_s: float | None, watch: Watch | None) -> None:
    answer = solve_all(problem, ENGINES, time_limit_s=time_limit_s, watch=watch)
    alone = exact.solve(problem, time_limit_s=time_limit_s, watch=watch)
    assert violations(problem, answer.solution) == violations(problem, alone) == ()
    for name in BASELINES:
        baseline = objective(problem, ENGINES[name](problem))
        assert objective(problem, answer.solution) <= baseline, name
        assert objective(problem, alone) <= baseline, name


@pytest.mark.parametrize(("time_limit_s", "watch"), [(None, None), (0.0, None), (None, STOPPED)], ids=["to its end", "no time", "stopped"])
@STEADY
@given(problem=problems(gpus=8, demand_count=6, shape_count=24))
def test_no_baseline_beats_the_portfolio(time_limit_s: float | None, watch: Watch | None, problem: Problem) -> None:
    never_worse(problem, time_limit_s, watch)


@STEADY
@given(seed=st.integers(0, 2**32))
def test_sharing_is_never_worse_than_first_fit_nor_no_sharing_than_the_baselines(seed: int) -> None:
    race = random_race(seed)
    never_worse(sharing_problem(race), 0.1, None)
    never_worse(exclusive_problem(race), 0.1, None)
