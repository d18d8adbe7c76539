"""Drawn requests: as many, as long and as bursty as the load says, never too long, and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import fmean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.offered_load import OfferedLoad, first_requests, offered_requests
from profiles.latency.mix import RequestMix

CHAT = OfferedLoad("chat", "model", 5.0, RequestMix(500, 100, 2500, 450), 8192)

loads = st.builds(
    OfferedLoad,
    st.sampled_from(["a", "b"]),
    st.just("model"),
    st.floats(0.01, 50),
    st.builds(
        RequestMix,
        st.floats(1, 5000),
        st.floats(1, 5000),
        st.floats(1, 20_000),
        st.floats(1, 20_000),
        st.floats(0, 8),
        st.floats(0, 1),
    ),
    st.integers(2, 4096),
)


@given(loads, st.integers(0, 5))
def test_no_request_is_longer_than_the_model_allows_and_arrivals_ascend(load: OfferedLoad, seed: int) -> None:
    found = first_requests(load, 300, seed)
    assert len(found) == 300
    for request in found:
        assert request.input_tokens >= 1
        assert request.output_tokens >= 1
        assert request.input_tokens + request.output_tokens <= load.max_model_len
        assert 0 <= request.cached_prefix_tokens <= request.input_tokens
    assert all(early.arrival_s <= late.arrival_s for early, late in pairwise(found))
    assert found[0].arrival_s >= 0


@given(loads, st.floats(0, 20), st.integers(0, 5))
def test_the_horizon_cuts_the_same_requests(load: OfferedLoad, horizon_s: float, seed: int) -> None:
    found = offered_requests([load], horizon_s, seed)
    assert found == first_requests(load, len(found), seed)
    assert first_requests(load, len(found) + 1, seed)[-1].arrival_s >= horizon_s


def test_rate_and_lengths_are_those_of_the_load() -> None:
    found = first_requests(CHAT, 20_000, 1)
    assert len(found) / found[-1].arrival_s == pytest.approx(5.0, rel=0.03)
    assert fmean(request.input_tokens for request in found) == pytest.approx(500, rel=0.02)
    assert fmean(request.output_tokens for request in found) == pytest.approx(100, rel=0.02)
    assert sorted(request.input_tokens for request in found)[-200] == pytest.approx(2500, rel=0.06)
    assert sorted(request.output_tokens for request in found)[-200] == pytest.approx(450, rel=0.06)


def test_lengths_of_a_row_hardly_depend_on_the_seed() -> None:
    means = [fmean(request.output_tokens for request in first_requests(CHAT, 256, seed)) for seed in range(20)]
    # independent draws would spread by 6 %
    assert pvariance(means) ** 0.5 < 0.025 * fmean(means)


@pytest.mark.parametrize("burstiness", [1.0, 4.0])
def test_bursts_are_as_asked_for(burstiness: float) -> None:
    load = replace(CHAT, mix=replace(CHAT.mix, burstiness=burstiness))
    bins = [0] * 2000
    for request in offered_requests([load], 40_000.0, 3):
        bins[int(request.arrival_s / 20)] += 1
    assert pvariance(bins) / fmean(bins) == pytest.approx(burstiness, rel=0.15)


def test_a_rate_only_stretches_time_and_workloads_do_not_change_each_other() -> None:
    other = replace(CHAT, workload="other")
    slow, fast = first_requests(CHAT, 50, 7), first_requests(replace(CHAT, rate_rps=10.0), 50, 7)
    assert [(item.input_tokens, item.output_tokens) for item in slow] == [(item.input_tokens, item.output_tokens) for item in fast]
    assert [item.arrival_s for item in slow] == pytest.approx([2 * item.arrival_s for item in fast])
    together = offered_requests([CHAT, other], 60.0, 7)
    assert together == offered_requests([CHAT], 60.0, 7) + offered_requests([other], 60.0, 7)
    assert offered_requests([CHAT], 60.0, 7) != offered_requests([CHAT], 60.0, 8)
    assert [item.arrival_s for item in together[:3]] != [item.arrival_s for item in offered_requests([other], 60.0, 7)[:3]]


def test_no_rate_no_requests() -> None:
    silent = replace(CHAT, rate_rps=0.0)
    assert offered_requests([silent], 60.0, 0) == first_requests(silent, 5, 0) == ()


@pytest.mark.parametrize("rate_rps", [-1.0, float("inf")])
def test_a_rate_that_cannot_be_is_refused(rate_rps: float) -> None:
    with pytest.raises(ValueError, match="rate_rps"):
        replace(CHAT, rate_rps=rate_rps)


def test_no_room_for_a_request_and_no_end_are_refused() -> None:
    with pytest.raises(ValueError, match="max_model_len"):
        replace(CHAT, max_model_len=1)
    with pytest.raises(ValueError, match="horizon_s"):
        offered_requests([CHAT], float("inf"), 0)
