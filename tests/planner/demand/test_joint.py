"""Joint windows: what is legal in the representatives is legal in all, and only what is known to be apart is kept apart."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.demand.joint import NOTHING, Stretch, offered, representative, stretches
from planner.demand.traces import TraceRequest
from planner.demand.windows import (
    DemandProfile,
    DemandWindow,
    constant_demand,
    demand_from_requests,
    fixed_length,
    steady_fraction,
    window_edges,
    windowed_demand,
)

RATES = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 7.25]), min_size=3, max_size=3), min_size=1, max_size=40)


def _times(count: int) -> tuple[Stretch, ...]:
    return tuple(Stretch("clock", float(i), float(i + 1)) for i in range(count))


def _window(start_s: float, end_s: float, rate_rps: float) -> DemandWindow:
    return DemandWindow(start_s=start_s, end_s=end_s, rate_rps=rate_rps, input=fixed_length(100), output=fixed_length(10))


@given(RATES, st.integers(1, 6))
def test_every_window_is_stood_for_and_every_peak_is_kept(rows: list[list[float]], most: int) -> None:
    """Invariant 21."""
    rates = {name: [row[i] for row in rows] for i, name in enumerate("abc")}
    found = representative(_times(len(rows)), rates, most)
    assert 1 <= len(found) <= most
    assert sum(window.count for window in found) == len(rows)
    for i in range(len(rows)):
        assert any(all(window.rates_rps[name] >= rates[name][i] for name in rates) for window in found)
    for name, asked in rates.items():
        assert max(window.rates_rps[name] for window in found) == max(asked), "joined upwards, never beyond the peak"
    assert found == representative(_times(len(rows)), rates, most)


def test_windows_that_others_dominate_are_dropped_and_different_ones_stay() -> None:
    rates = {"day": [9.0, 8.0, 0.0, 1.0], "night": [0.0, 0.0, 5.0, 4.0]}
    found = representative(_times(4), rates)
    assert [(window.first.start_s, dict(window.rates_rps), window.count) for window in found] == [
        (0.0, {"day": 9.0, "night": 0.0}, 2),
        (2.0, {"day": 0.0, "night": 5.0}, 1),
        (3.0, {"day": 1.0, "night": 4.0}, 1),
    ]


def test_on_one_timeline_workloads_are_together_and_on_two_at_their_peaks() -> None:
    day, night = windowed_demand([_window(0, 10, 4.0), _window(10, 20, 1.0)]), windowed_demand([_window(10, 20, 3.0)])
    together = stretches([day, night])
    assert [(stretch.start_s, stretch.end_s) for stretch in together] == [(0.0, 10.0), (10.0, 20.0)]
    assert offered(night, together[0]) == NOTHING
    assert [offered(day, stretch).rate_rps for stretch in together] == [4.0, 1.0]
    elsewhere = night.model_copy(update={"timeline": "another.csv"})
    apart = stretches([day, elsewhere])
    assert [(offered(day, stretch).rate_rps, offered(elsewhere, stretch).rate_rps) for stretch in apart] == [
        # the timeline of the file, on which day's times mean nothing
        (4.0, 3.0),
        (4.0, 3.0),
        (1.0, 3.0),
    ]


def test_constant_demand_is_there_in_every_window_and_alone_in_one() -> None:
    steady = constant_demand(2.0, fixed_length(100), fixed_length(10))
    (only,) = stretches([steady])
    assert (only.timeline, only.end_s, offered(steady, only).rate_rps) == (None, math.inf, 2.0)
    windows = stretches([steady, windowed_demand([_window(0, 5, 1.0)])])
    assert [(stretch.timeline, offered(steady, stretch).rate_rps) for stretch in windows] == [("clock", 2.0)]


def test_a_window_that_is_quiet_by_chance_counts_with_the_mean() -> None:
    profile = _traced([0.0, 13.0, 30.0, 50.0, 70.0, 130.0, 145.0, 170.0], 180.0)
    assert [window.rate_rps * 60 for window in profile.windows] == pytest.approx([4, 1, 3])
    assert profile.steady_fraction == 1.0, "4, 1 and 3 requests differ by chance"
    quiet = offered(profile, stretches([profile])[1])
    assert quiet.rate_rps == pytest.approx(8 / 180)
    assert quiet.output_tokens_per_s == pytest.approx(8 / 180 * 10)


def test_a_night_is_no_chance() -> None:
    profile = _traced([i / 10 for i in range(6000)], 1200.0)
    assert profile.steady_fraction < 0.01
    day, *_, night = (offered(profile, stretch).rate_rps for stretch in stretches([profile]))
    assert day == 10.0
    assert night == pytest.approx(0.0, abs=0.05)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.floats(1.0, 5.0))
def test_the_part_that_chance_explains_is_a_part(counts: list[int], burst: float) -> None:
    fraction = steady_fraction(counts, [burst] * len(counts))
    assert 0.0 <= fraction <= 1.0
    assert steady_fraction(counts, [2 * burst] * len(counts)) >= fraction


def _traced(arrivals_s: list[float], span_s: float) -> DemandProfile:
    requests = [TraceRequest(arrival_s=arrival_s, input_tokens=100, output_tokens=10, tenant="") for arrival_s in arrivals_s]
    return demand_from_requests(requests, window_edges(span_s, 60.0))
