from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.demand.traces import TraceRequest
from planner.demand.windows import (
    DISPERSION_BINS,
    Z95,
    Z99,
    DemandWindow,
    constant_demand,
    demand_from_requests,
    dispersion,
    fixed_length,
    spread_length,
    window_edges,
    windowed_demand,
)

ONE = fixed_length(1)


def window(start_s: float, end_s: float, rate_rps: float) -> DemandWindow:
    return DemandWindow(start_s=start_s, end_s=end_s, rate_rps=rate_rps, input=ONE, output=ONE)


def test_constant_demand_never_ends() -> None:
    profile = constant_demand(3.0, ONE, ONE)
    assert (profile.peak_rps, profile.p99_rps, profile.mean_rps) == (3.0, 3.0, 3.0)
    assert (profile.windows[0].start_s, profile.windows[0].end_s) == (0.0, math.inf)


def test_windows_are_weighted_by_time_and_gaps_are_idle() -> None:
    profile = windowed_demand([window(0, 10, 1.0), window(90, 100, 5.0)])
    assert profile.peak_rps == 5.0
    assert profile.mean_rps == pytest.approx(0.6)
    assert windowed_demand([window(0, 995, 1.0), window(995, 1000, 9.0)]).p99_rps == 1.0
    assert windowed_demand([window(0, 980, 1.0), window(980, 1000, 9.0)]).p99_rps == 9.0


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 50)), min_size=1, max_size=20))
def test_p99_and_mean_lie_below_the_peak(lengths_and_rates: list[tuple[float, float]]) -> None:
    windows, end_s = [], 0.0
    for length_s, rate_rps in lengths_and_rates:
        windows.append(window(end_s, end_s + length_s, rate_rps))
        end_s += length_s
    profile = windowed_demand(windows)
    assert profile.p99_rps <= profile.peak_rps == max(rate_rps for _, rate_rps in lengths_and_rates)
    assert profile.mean_rps <= profile.peak_rps * (1 + 1e-9)


def test_normal_quantiles() -> None:
    assert pytest.approx(NormalDist().inv_cdf(0.95)) == Z95
    assert pytest.approx(NormalDist().inv_cdf(0.99)) == Z99


@given(st.floats(1, 1e5), st.floats(1, 14))
def test_spread_lengths_are_a_log_normal_with_that_mean(mean_tokens: float, ratio: float) -> None:
    lengths = spread_length(mean_tokens, mean_tokens * ratio)
    sigma = math.log(lengths.p99_tokens / lengths.p50_tokens) / Z99
    assert lengths.p50_tokens * math.exp(sigma**2 / 2) == pytest.approx(mean_tokens, rel=1e-6)
    assert lengths.p95_tokens == pytest.approx(lengths.p50_tokens * math.exp(Z95 * sigma), rel=1e-6)


@given(st.floats(1, 1e5), st.floats(1, 1e4))
def test_quantiles_of_spread_lengths_are_in_order(mean_tokens: float, ratio: float) -> None:
    lengths = spread_length(mean_tokens, mean_tokens * ratio)
    assert 0 < lengths.p50_tokens <= lengths.p95_tokens * (1 + 1e-9)
    assert lengths.p95_tokens <= lengths.p99_tokens * (1 + 1e-9)


def test_window_edges_are_equal_and_cover_the_span() -> None:
    assert window_edges(600, 60) == tuple(float(edge) for edge in range(0, 601, 60))
    assert window_edges(61, 60) == (0.0, 61.0), "no window for a remainder of one second"
    assert window_edges(95, 60) == (0.0, 47.5, 95.0)
    assert window_edges(20, 60) == (0.0, 20.0), "a short trace is not diluted"
    assert window_edges(0, 60) == window_edges(0.1, 60) == (0.0, 1.0), "a burst is no rate"
    assert len(window_edges(86400, None)) == 61
    assert window_edges(100, None) == (0.0, 50.0, 100.0)


def test_too_many_windows_are_refused_with_a_length_that_works() -> None:
    with pytest.raises(ValueError, match="write at least 61s"):
        window_edges(86_401, 1)
    assert len(window_edges(86_401, 61)) <= 1441


def test_demand_of_a_trace_counts_each_request_once() -> None:
    requests = [TraceRequest(float(second), 100, 10) for second in range(60)] + [TraceRequest(60.0, 500, 90), TraceRequest(120.0, 700, 90)]
    profile = demand_from_requests(requests, (0.0, 60.0, 120.0))
    assert [item.rate_rps for item in profile.windows] == [1.0, 2 / 60]
    assert profile.windows[0].input == fixed_length(100)
    assert profile.windows[0].burstiness == 0.0, "one request each second is perfectly regular"
    assert profile.windows[1].input.mean_tokens == pytest.approx(7200 / 62), "too few requests: lengths of the whole workload"
    assert profile.windows[1].output.p99_tokens == 90


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 5000)), min_size=1, max_size=60).map(sorted), st.floats(20, 500))
def test_trace_profiles_keep_the_number_of_requests(rows: list[tuple[float, int]], window_s: float) -> None:
    requests = [TraceRequest(arrival_s, tokens, tokens) for arrival_s, tokens in rows]
    edges = window_edges(requests[-1].arrival_s, window_s)
    profile = demand_from_requests(requests, edges)
    counted = sum(item.rate_rps * (item.end_s - item.start_s) for item in profile.windows)
    assert counted == pytest.approx(len(requests))
    for item in profile.windows:
        lengths = item.input
        assert min(tokens for _, tokens in rows) <= lengths.p50_tokens <= lengths.p95_tokens <= lengths.p99_tokens
        assert lengths.p99_tokens <= max(tokens for _, tokens in rows)
        assert math.isfinite(item.burstiness)


def test_dispersion() -> None:
    assert dispersion([], 0, 60) == dispersion([30.0], 0, 60) == 1.0
    assert dispersion([30.0] * 50, 0, 60) == pytest.approx(50), "all arrivals in one bin"
    bins = [2.0 * index + 1 for index in range(DISPERSION_BINS)]
    assert dispersion(bins, 0, 60) == 0.0
    assert dispersion([0.0, 60.0], 0, 60) == pytest.approx(28 / 29), "two arrivals, as of a Poisson process"


@given(st.lists(st.floats(0, 120), min_size=1, max_size=40).map(sorted), st.integers(1, 5))
def test_copies_multiply_the_rate_of_every_window_and_nothing_else(arrivals_s: list[float], copies: int) -> None:
    requests = [TraceRequest(arrival_s, 10 + index, 20) for index, arrival_s in enumerate(arrivals_s)]
    edges = window_edges(120, 30)
    once, often = demand_from_requests(requests, edges), demand_from_requests(requests, edges, copies)
    for single, multiple in zip(once.windows, often.windows, strict=True):
        assert multiple.rate_rps == pytest.approx(copies * single.rate_rps)
        assert (multiple.input, multiple.output) == (single.input, single.output)
        assert math.isfinite(multiple.burstiness)
