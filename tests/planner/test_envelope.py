"""Demand that leaves what was planned for is found, chance and nights are not."""

from __future__ import annotations

import pytest

from planner.demand.scaled import declared_rps, scaled
from planner.envelope import DemandRecord, EngineOf, outside, planned_rps
from planner.plan import Desired
from tests.planner.spec.fleet_files import FLEET, load
from tests.plans import time_shared_plan

ENGINE, OTHER = EngineOf("llama", "llama-0/7"), EngineOf("llama", "llama-1/8")


def desired() -> Desired:
    return time_shared_plan().desired


def record(stretch_s: float, *readings: tuple[float, int]) -> DemandRecord:
    made = DemandRecord(stretch_s)
    for at_s, count in readings:
        made.add(at_s, {ENGINE: count})
    return made


def test_a_rate_is_the_mean_of_the_whole_stretch_and_nothing_before() -> None:
    assert record(100.0, (0.0, 0), (50.0, 500)).rates_rps() == {}
    assert record(100.0, (0.0, 0), (50.0, 500), (100.0, 1000)).rates_rps() == {"llama": 10.0}
    # what is older than the stretch falls out
    assert record(100.0, (0.0, 0), (50.0, 5000), (100.0, 5100), (150.0, 5200)).rates_rps() == {"llama": 2.0}


def test_a_counter_that_was_reset_has_counted_from_zero_since() -> None:
    assert record(100.0, (0.0, 1000), (60.0, 1060), (100.0, 40)).rates_rps() == {"llama": 1.0}


def test_an_engine_that_did_not_answer_once_is_no_new_demand() -> None:
    made = DemandRecord(100.0)
    made.add(0.0, {ENGINE: 10_000, OTHER: 5_000})
    made.add(50.0, {ENGINE: 10_050})
    made.add(100.0, {ENGINE: 10_100, OTHER: 5_100})
    assert made.rates_rps() == {"llama": 2.0}
    # one that is seen for the first time counts from then on
    for at_s in (150.0, 200.0):
        made.add(at_s, {ENGINE: 10_000 + int(at_s), OTHER: 5_000 + int(at_s), EngineOf("llama", "llama-2/9"): 70_000})
    assert made.rates_rps() == {"llama": 2.0}


def test_more_than_planned_counts_and_less_only_without_windows() -> None:
    plan = desired()
    planned = planned_rps(plan)
    name = min(planned)
    assert outside(plan, planned, 0.2, 1000.0) == {}
    assert outside(plan, {name: 1.5 * planned[name]}, 0.2, 1000.0) == {name: pytest.approx(1.5)}
    assert outside(plan, {name: 0.5 * planned[name]}, 0.2, 1000.0) == {name: pytest.approx(0.5)}
    # ten requests more or less are chance
    assert outside(plan, {name: 1.5 * planned[name]}, 0.2, 10.0 / planned[name]) == {}
    # nobody asks for a model: that is a rate, too
    assert outside(plan, {name: 0.0}, 0.2, 1000.0) == {name: 0.01}


def test_scaled_demand_says_so_and_leaves_others_alone() -> None:
    fleet = load(FLEET)
    twice = scaled(fleet, {"chat": 2.0})
    assert declared_rps(twice) == {name: 2.0 * rps for name, rps in declared_rps(fleet).items()}
    assert twice.workloads[0].demand.windows[0].rate_rps == 2.0 * fleet.workloads[0].demand.windows[0].rate_rps
    assert twice.warnings == (*fleet.warnings, "demand of chat is 2 times the declared one")
    # by the model that it asks for, too
    assert declared_rps(scaled(fleet, {"small": 2.0})) == declared_rps(twice)
    assert scaled(fleet, {"chat": 1.0}) == fleet
    with pytest.raises(ValueError, match="'caht' is not a workload, nor a model that one asks for: chat, small"):
        scaled(fleet, {"caht": 2.0})
    with pytest.raises(ValueError, match="chat: the factor 0 must be above 0"):
        scaled(fleet, {"chat": 0.0})
