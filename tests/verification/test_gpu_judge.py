"""One GPU judged: what is counted, how long it is watched, and that the quick no is a no."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.simulation.traffic_metrics import wilson_interval
from planner.verification import INTERFERENCE, NOMINAL, SLOW, JudgeEffort, Stress, judged, stresses
from planner.verification.gpu_judge import bears
from tests.verification.residents import CONSTANT, SMALL, SPREAD, resident


def test_a_gpu_with_little_to_do_meets_every_goal() -> None:
    for row in judged([resident("a", 0.05), resident("b", 0.05)], NOMINAL, SMALL).workloads:
        assert row.requests == row.attained > 0
        assert row.attainment_fraction == 1.0
        assert (row.attainment_low_fraction, row.attainment_high_fraction) == wilson_interval(row.attained, row.requests)


def test_overload_misses_goals_and_the_same_seed_gives_the_same() -> None:
    crowded = [resident("a", 30.0, SPREAD), resident("b", 5.0, SPREAD)]
    found = judged(crowded, NOMINAL, SMALL, seed=3)
    assert [row.workload for row in found.workloads] == ["a", "b"]
    assert found.total.attainment_fraction is not None
    assert found.total.attainment_fraction < 0.9
    assert found == judged(crowded, NOMINAL, SMALL, seed=3)
    assert found != judged(crowded, NOMINAL, SMALL, seed=4)


def test_stresses_are_what_they_say() -> None:
    pair = [resident("a", 4.0, SPREAD), resident("b", 4.0, SPREAD)]
    medians = {}
    for stress in (NOMINAL, SLOW, INTERFERENCE):
        tpot = judged(pair, stress, JudgeEffort(400, 2000)).workloads[0].tpot
        assert tpot is not None
        medians[stress.name] = tpot.p50_s
    assert medians["nominal"] < medians["interference 1.3"]
    assert medians["nominal"] < medians["slow steps (p90)"]
    # a step at p90 is 1.25 as long
    alone = [judged([resident("a", 0.05, SPREAD)], stress, SMALL).workloads[0].ttft for stress in (NOMINAL, SLOW)]
    assert alone[0] is not None
    assert alone[1] is not None
    assert 1.1 < alone[1].p50_s / alone[0].p50_s < 1.4
    assert stresses(1) == (SLOW,)
    assert set(stresses(2)) == {SLOW, INTERFERENCE}


def test_a_load_factor_is_a_factor_of_every_rate() -> None:
    pair = [resident("a", 1.0), resident("b", 2.0)]
    tripled = [replace(item, load=replace(item.load, rate_rps=item.load.rate_rps * 3)) for item in pair]
    assert judged(pair, NOMINAL, SMALL, load_factor=3.0) == judged(tripled, NOMINAL, SMALL)


def test_the_horizon_follows_the_rarest_within_limits() -> None:
    pair = [resident("a", 1.0), resident("b", 4.0)]
    assert JudgeEffort(100, 10_000).horizon_s(pair) == 100.0
    assert JudgeEffort(100, 250).horizon_s(pair) == 50.0
    patient = replace(resident("c", 100.0), ttft_goal_s=30.0)
    assert JudgeEffort(100, 250, goals_per_horizon=4.0).horizon_s([*pair, patient]) == 120.0
    assert JudgeEffort(100, 250).horizon_s([replace(patient, ttft_goal_s=math.inf)]) == 1.0
    assert JudgeEffort().horizon_s([resident("a", 0.0)]) == 0.0
    assert judged([resident("a", 0.0)], NOMINAL, SMALL).total.requests == 0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 40.0), st.sampled_from([NOMINAL, SLOW, INTERFERENCE]), st.integers(0, 3), st.sampled_from([1.0, 0.99, 0.9]))
def test_the_quick_no_agrees_with_the_whole_run(load_factor: float, stress: Stress, seed: int, goal_fraction: float) -> None:
    pair = [resident("a", 1.0, SPREAD, burstiness=3.0), resident("b", 0.5, SPREAD)]
    rows = judged(pair, stress, SMALL, load_factor=load_factor, seed=seed).workloads
    expected = all(row.requests - row.attained <= math.floor((1 - goal_fraction) * row.requests + 1e-9) for row in rows)
    assert bears(pair, stress, SMALL, attainment_fraction=goal_fraction, load_factor=load_factor, seed=seed) == expected


def test_what_is_not_one_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match="on 2 GPUs"):
        judged([resident("a"), resident("b", gpu_key="other")], NOMINAL, SMALL)
    with pytest.raises(ValueError, match="same workload"):
        judged([resident("a"), resident("a")], NOMINAL, SMALL)
    second = replace(resident("b", step=CONSTANT), load=replace(resident("b").load, served_name="a"))
    with pytest.raises(ValueError, match="same served name"):
        judged([resident("a"), second], NOMINAL, SMALL)
