"""Whole plans, judged GPU by GPU."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import Plan, State
from planner.risk import Risk
from planner.simulation.plan_input import planned_world
from planner.verification import NOMINAL, JudgeEffort, judged
from planner.verification.plan_judge import KEPT_LOAD_FACTORS, PlanJudge
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from tests.planner.sizing.test_interference import measured
from tests.verification.residents import resident
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

# Sixty times the longest goal, one second, whoever is there.
_MINUTE = JudgeEffort(rarest_requests=1, most_requests=1, goals_per_horizon=60)


@cache
def _shared() -> Plan:
    """Three models on one GPU."""
    rates = {"small": "1/s", "middle": "1/s", "large": "0.5/s"}
    plan = plan_fleet(fleet(workloads={name: workload(name, rate) for name, rate in rates.items()}), State()).plan
    assert any(len(gpu.replicas) > 1 for gpu in plan.desired.gpus)
    return plan


def _attained(risk: Risk) -> dict[tuple[str, str], float]:
    world = planned_world(_shared(), builtin().gpu, architecture_of)
    found = PlanJudge(risk).attainments(_shared().desired, world)
    return {(name, item.stress): item.fraction for name, items in found.items() for item in items}


def test_the_stresses_are_those_of_the_risk() -> None:
    found = _attained(Risk(step_quantile=0.8, interference_factor=1.5))
    assert {stress for _, stress in found} == {"nominal", "slow steps (p80)", "interference 1.5"}


def test_neighbours_that_cost_more_take_attainment() -> None:
    mild, hard = (_attained(Risk(interference_factor=factor)) for factor in (1.0, 10.0))
    assert min(hard.values()) < 0.9
    assert all(fraction >= 0.99 for (_, stress), fraction in mild.items() if stress == "interference 1")


def test_what_was_measured_of_neighbours_counts_instead_of_what_is_assumed() -> None:
    world = planned_world(_shared(), builtin().gpu, architecture_of)
    # twenty times as slow together as alone, where two times is the equal share
    found = PlanJudge(Risk(interference_factor=1.0), measured(20.0)).attainments(_shared().desired, world)
    assert {item.stress for items in found.values() for item in items} == {"nominal", "slow steps (p90)", "interference 1"}
    assert min(item.fraction for items in found.values() for item in items if item.stress == "interference 1") < 0.9


def test_the_load_that_is_kept_is_where_crowding_begins() -> None:
    world = planned_world(_shared(), builtin().gpu, architecture_of)
    judge = PlanJudge()
    factors = judge.kept_load_factors(_shared().desired, world)
    assert set(factors) == {row.served_name for row in _shared().desired.workloads}
    for name, factor in factors.items():
        assert factor in KEPT_LOAD_FACTORS
        above = [tried for tried in KEPT_LOAD_FACTORS if tried > factor]
        # what breaks where a GPU is worst breaks somewhere
        assert not above or name in judge.crowded(_shared().desired, world, above[0])


@settings(max_examples=20)
@given(st.floats(0.2, 6.0), st.floats(0.2, 6.0), st.floats(0.2, 6.0), st.integers(0, 5))
def test_invariant_25_a_resident_more_never_helps_its_neighbours(first_rps: float, second_rps: float, more_rps: float, seed: int) -> None:
    few = [resident("a", first_rps), resident("b", second_rps)]
    before, after = (
        {row.workload: row for row in judged(residents, NOMINAL, _MINUTE, seed=seed).workloads}
        for residents in (few, [*few, resident("c", more_rps)])
    )
    for name, row in before.items():
        assert after[name].requests == row.requests
        assert after[name].attained <= row.attained


def test_nobody_can_promise_all_requests() -> None:
    with pytest.raises(ValueError, match="attainment_fraction"):
        Risk(attainment_fraction=1.0)
