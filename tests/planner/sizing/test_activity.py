"""Activities of neighbours: what their mixture is, and that more of them never helps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.sizing.activity import ANY, MOST_NEIGHBOURS, RatesBeside, SharingLimit, sharing_limits, weights
from planner.sizing.groups import service_groups
from planner.sizing.sites import Site
from planner.sizing.time_shared import activities, borne, splits
from planner.sizing.ways_to_run import Sizing, Variant, variant_of, ways
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from tests.fleets import fleet, workload

LIMITS = sharing_limits(4)


def _variant(rate: str = "2/s", slower: float = 1.0, **changes: object) -> Variant:
    """Llama 8B on an H100 that is shared; its steps are taken to be slower times as long as known."""
    demand = {"rate": rate, "input_tokens": 500, "output_tokens": 200}
    declared = fleet(
        models={"m": {"source": "meta-llama/Llama-3.1-8B-Instruct"}}, workloads={"w": {**workload("m", rate), "demand": demand, **changes}}
    )
    (group,) = service_groups(declared)
    site = Site("p", builtin().gpu("H100-SXM-80GB"), 1024, frozenset({"time_shared"}), (1,), 4)
    (way,) = ways(group, site)
    return variant_of(way, group, site, Sizing(0.99, Measurements(), 0.9, {group.name: slower}))


@given(st.sampled_from(LIMITS), st.floats(0.0, 1.0))
def test_chances_add_up_and_their_mean_is_the_sum_of_activities(limit: SharingLimit, part: float) -> None:
    neighbours_active = part * min(limit.active_limit, limit.max_residents - 1)
    chances = list(weights(limit, neighbours_active))
    assert all(chance >= 0.0 for chance in chances)
    tail = 1.0 - sum(chances)
    if limit.max_residents < ANY:
        assert tail == pytest.approx(0.0, abs=1e-12)
        assert sum(n * chance for n, chance in enumerate(chances)) == pytest.approx(neighbours_active)
    else:
        assert 0.0 <= tail + 1e-12 <= 0.001
        assert chances[0] == pytest.approx(math.exp(-neighbours_active))


@given(st.integers(3, 6), st.floats(0.05, 1.95))
def test_more_residents_with_the_same_activity_have_the_heavier_tail(residents: int, neighbours_active: float) -> None:
    few, many, any_number = (
        list(weights(limit, neighbours_active))
        for limit in (SharingLimit(residents, 4), SharingLimit(residents + 1, 4), SharingLimit(ANY, 4))
    )
    beyond = math.ceil(neighbours_active) + 1
    assert sum(few[beyond:]) <= sum(many[beyond:]) + 1e-12
    assert sum(many[beyond:]) <= 1.0 - sum(any_number[:beyond]) + 1e-12


def test_requests_in_flight_are_not_understated_between_whole_numbers() -> None:
    variant = _variant("4/s")
    beside = RatesBeside(variant).at(4.0)
    for neighbours in (0.25, 0.5, 1.3, 1.75):
        between, exact = beside.running_requests(neighbours), variant.load(4.0, 1 + neighbours)
        assert between is not None
        assert exact is not None
        assert between >= exact.running_requests


def test_activity_agrees_with_itself_from_above() -> None:
    variant = _variant()
    for limit in LIMITS:
        beside = RatesBeside(variant).at(0.3)
        active = beside.active_fraction(limit)
        running = beside.running_requests(min(max(limit.active_limit - active, 0.0), limit.max_residents - 1))
        assert running is not None
        assert -math.expm1(-running) <= active <= 1.0
    assert RatesBeside(variant).at(0.0).active_fraction(LIMITS[0]) == 0.0


def test_more_neighbours_never_miss_less_and_a_looser_limit_is_never_easier() -> None:
    variant = _variant("8/s")
    for rate_rps in (0.1, 1.0, 4.0, 8.0):
        beside = RatesBeside(variant).at(rate_rps)
        missed = [beside.missed_fraction(n) for n in range(MOST_NEIGHBOURS + 1)]
        assert missed == sorted(missed)
        for residents in (2, ANY):
            own = [limit for limit in LIMITS if limit.max_residents == residents and beside.active_fraction(limit) <= limit.active_limit]
            bears = [beside.bears(limit) for limit in own]
            assert bears == sorted(bears, reverse=True)


def test_a_busier_replica_bears_no_more() -> None:
    variant = _variant("20/s")
    for limit in LIMITS:
        bears = [bool(borne(RatesBeside(variant), rate_rps, [limit])) for rate_rps in (0.2, 1.0, 3.0, 8.0, 20.0)]
        assert bears == sorted(bears, reverse=True)


def test_each_class_gets_its_fewest_replicas_and_a_few_more() -> None:
    variant = _variant("20/s")
    found = list(splits(RatesBeside(variant), 1))
    for limit in {limit for _, limit in found}:
        counts = [round(20.0 / rate_rps) for rate_rps, other in found if other == limit]
        assert counts == sorted(set(counts))
        assert len(counts) <= 3
        assert counts[0] == 1 or not borne(RatesBeside(variant), 20.0 / (counts[0] - 1), [limit])


def test_a_goal_that_one_neighbour_breaks_is_borne_only_beside_hardly_active_ones() -> None:
    base = _variant("0.2/s")
    alone = base.load(0.2, 1)
    assert alone is not None
    tight = replace(base, group=replace(base.group, slo=replace(base.group.slo, tpot_s=1.5 * alone.tpot_s)))
    assert not borne(RatesBeside(tight), 0.2, [SharingLimit(2, 2.0)])
    _, _, at_worst = activities(RatesBeside(tight), 0.2, SharingLimit(2, 0.6))
    assert at_worst == 1, "beside one active neighbour the goal is missed"


@given(st.floats(0.05, 1.0), st.floats(0.01, 30.0), st.floats(1.0, 4.0))
def test_invariant_26_with_little_room_a_pool_still_holds_what_is_in_flight_alone(slower: float, rate_rps: float, level: float) -> None:
    alone = _variant().kv_need_bytes(rate_rps, 1.0)
    found = _variant(slower=slower).kv_need_bytes(rate_rps, level)
    if alone is not None and found is not None:
        assert found >= alone


@pytest.mark.parametrize("burstiness", [1.0, 8.0])
def test_what_is_known_of_other_rates_changes_no_answer(burstiness: float) -> None:
    base = _variant("20/s")
    variant = replace(base, group=replace(base.group, mix=replace(base.group.mix, burstiness=burstiness)))
    rates = RatesBeside(variant)
    for rate_rps in (4.0, 0.2, 1.0, 20.0, 0.5, 8.0, 2.0):
        for neighbours in (3, 0, 1, 8, 2):
            assert rates.at(rate_rps).missed_fraction(neighbours) == RatesBeside(variant).at(rate_rps).missed_fraction(neighbours)
        for level in (1, 1.5, 3):
            assert rates.engine.kv_need_bytes(rate_rps, level) == variant.kv_need_bytes(rate_rps, level)
