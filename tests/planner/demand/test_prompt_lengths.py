from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.demand.prompt_lengths import SplitDemand, split_profile, split_requests, trace_demand
from planner.demand.scaled import scaled
from planner.demand.traces import TraceRequest
from planner.demand.windows import (
    MIN_REQUESTS_FOR_QUANTILES,
    DemandProfile,
    DemandWindow,
    constant_demand,
    fixed_length,
    spread_length,
    windowed_demand,
)
from profiles.latency.mix import Length
from tests.fleets import fleet, workload

LONGEST_TOKENS = 1_000_000

lengths = st.tuples(st.floats(20, 20_000), st.floats(1.05, 14)).map(lambda pair: spread_length(pair[0], pair[0] * pair[1]))


@st.composite
def profiles(draw: st.DrawFn) -> DemandProfile:
    output = fixed_length(100)
    if draw(st.booleans()):
        return constant_demand(draw(st.floats(0.01, 1000)), draw(lengths), output)
    count = draw(st.integers(1, 4))
    return windowed_demand(
        [
            DemandWindow(start_s=60.0 * i, end_s=60.0 * (i + 1), rate_rps=draw(st.floats(0, 100)), input=draw(lengths), output=output)
            for i in range(count)
        ]
    )


def _adds_up(split: SplitDemand, whole: DemandProfile) -> None:
    for short, long, all_ in zip(split.short.windows, split.long.windows, whole.windows, strict=True):
        assert (short.start_s, short.end_s) == (long.start_s, long.end_s) == (all_.start_s, all_.end_s)
        assert short.rate_rps + long.rate_rps == pytest.approx(all_.rate_rps, rel=1e-12)
        for part in ("input", "output"):
            volumes = [window.rate_rps * getattr(window, part).mean_tokens for window in (short, long, all_)]
            assert volumes[0] + volumes[1] == pytest.approx(volumes[2], rel=1e-9)


@given(profiles())
@settings(deadline=None)
def test_rates_and_tokens_of_both_parts_add_up(whole: DemandProfile) -> None:
    for split in split_profile(whole, LONGEST_TOKENS):
        _adds_up(split, whole)
        assert (split.short.timeline, split.short.every_s) == (whole.timeline, whole.every_s)
        for short, long in zip(split.short.windows, split.long.windows, strict=True):
            if short.rate_rps and long.rate_rps:
                assert short.input.mean_tokens <= split.over_tokens * (1 + 1e-6)
                assert long.input.mean_tokens >= split.over_tokens * (1 - 1e-6)
            for window in (short, long):
                assert window.input.p50_tokens <= window.input.p95_tokens <= window.input.p99_tokens * (1 + 1e-9)


@given(lengths)
@settings(deadline=None)
def test_queues_are_not_thought_shorter_by_a_split(prompts: object) -> None:
    """Waiting grows with the mean square of lengths: of both parts together it is no less than of the whole."""
    whole = constant_demand(1.0, prompts, fixed_length(100))  # type: ignore[arg-type]
    square = _mean_square(whole)
    for split in split_profile(whole, 10**9):
        assert _mean_square(split.short) + _mean_square(split.long) >= square * (1 - 1e-6)


def _mean_square(profile: DemandProfile) -> float:
    (window,) = profile.windows
    return window.rate_rps * Length.fitted(window.input.mean_tokens, window.input.p99_tokens).moment(2)


def test_no_prompt_is_longer_than_the_model_takes() -> None:
    whole = constant_demand(1.0, spread_length(1000, 12_000), fixed_length(100))
    assert all(split.long.windows[0].input.p99_tokens <= 14_000 for split in split_profile(whole, 14_000))
    assert any(split.long.windows[0].input.p99_tokens > 14_000 for split in split_profile(whole, LONGEST_TOKENS))


@pytest.mark.parametrize("prompts", [fixed_length(500), spread_length(1.0, 1.2)], ids=["one-length", "one-token"])
def test_what_has_one_length_is_not_split(prompts: object) -> None:
    assert split_profile(constant_demand(1.0, prompts, fixed_length(100)), LONGEST_TOKENS) == ()  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 900)), min_size=1, max_size=120), st.integers(1, 3))
@settings(deadline=None)
def test_requests_of_a_trace_are_in_one_part_each(pairs: Sequence[tuple[int, int]], copies: int) -> None:
    requests = [TraceRequest(2.0 * i, prompt, answer) for i, (prompt, answer) in enumerate(pairs)]
    edges = [0.0, 120.0, 240.0]
    measured = trace_demand(edges, copies, "trace")
    whole = measured(requests)
    for split in split_requests(requests, measured):
        sizes = [sum(request.input_tokens <= split.over_tokens for request in requests)]
        sizes.append(len(requests) - sizes[0])
        assert min(sizes) > 0
        for short, long, all_ in zip(split.short.windows, split.long.windows, whole.windows, strict=True):
            assert short.rate_rps + long.rate_rps == pytest.approx(all_.rate_rps)
            counts = [round(window.rate_rps / copies * 120) for window in (short, long)]
            # fewer requests take the lengths of their whole part
            if all(count >= MIN_REQUESTS_FOR_QUANTILES for count in counts):
                for part in ("input", "output"):
                    volumes = [window.rate_rps * getattr(window, part).mean_tokens for window in (short, long, all_)]
                    assert math.isclose(volumes[0] + volumes[1], volumes[2], rel_tol=1e-9)
        assert split.short.windows[0].input.p99_tokens <= split.over_tokens < split.long.windows[0].input.p50_tokens


def test_more_demand_is_more_of_both_parts() -> None:
    demand = {"rate": "4/s", "input_tokens": {"mean": 200, "p99": 1500}, "output_tokens": 50}
    whole = fleet(workloads={"small": workload("small", demand=demand, split="prompt_length")})
    (more,) = scaled(whole, {"small": 3.0}).workloads
    assert more.splits
    for split in more.splits:
        _adds_up(split, more.demand)
