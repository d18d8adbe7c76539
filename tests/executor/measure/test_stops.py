"""When enough was measured: rounds that agree, engines that are full, goals that are far."""

from __future__ import annotations

import json
import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.measure.load import ClientLoad, MeasureError, Prompts, Timing
from executor.measure.server import ServerCounters
from executor.measure.stops import LEAST_ROUNDS, MOST_ROUNDS, LoadMeans, Stops, enough_for, half_width_fraction, means, why_stop
from executor.measure.sweep import crowded

STOPS = Stops(load_s=60.0, confidence_fraction=0.05, ttft_slo_s=0.5, tpot_slo_s=0.05)


def timing(tpot_s: float = 0.01, ttft_s: float = 0.1) -> Timing:
    return Timing(0.0, ttft_s, tpot_s, ttft_s + 9 * tpot_s)


def measured(concurrency: int, rate_rps: float, ttft_s: float = 0.1, tpot_s: float | None = 0.01) -> LoadMeans:
    return LoadMeans(ClientLoad(100, 10, concurrency), 12, rate_rps, ttft_s, tpot_s, 0.2)


def test_rounds_that_agree_are_enough_and_rounds_that_do_not_end_some_time() -> None:
    enough = enough_for(ClientLoad(100, 10, 8), STOPS)
    steady = [timing() for _ in range(8 * LEAST_ROUNDS)]
    assert not enough(steady[:-1], 1.0)
    assert enough(steady, 1.0)
    # one round twice as slow as the next
    uneven = [timing(0.01 * (1 + number // 8 % 2)) for number in range(8 * MOST_ROUNDS)]
    assert not any(enough(uneven[:count], 1.0) for count in range(len(uneven)))
    assert enough(uneven, 1.0)


def test_time_ends_a_load_once_every_client_had_an_answer() -> None:
    enough = enough_for(ClientLoad(100, 10, 8), STOPS)
    assert not enough([timing()] * 7, 61.0)
    assert enough([timing()] * 8, 61.0)


def test_answers_of_one_token_are_judged_by_the_whole_request() -> None:
    short = [Timing(0.0, 0.125, None, 0.125)] * 12
    assert enough_for(ClientLoad(100, 1, 4), STOPS)(short, 1.0)
    assert means(ClientLoad(100, 1, 4), short, 2.0) == LoadMeans(ClientLoad(100, 1, 4), 12, 6.0, 0.125, None, 0.125)


def test_the_engines_clock_tells_where_tokens_arrive_together() -> None:
    together = [Timing(0.0, 0.5, 0.0, 0.5)] * 12
    load = ClientLoad(100, 11, 4)
    # 12 answers took 0.6 s each from first to last token by the engine's histogram: ten gaps of 60 ms
    engine_s = ServerCounters(0, 0, 20, 0, decoded=20, decode_s=8.2).tpot_since(ServerCounters(0, 0, 8, 0, decoded=8, decode_s=1.0), 11)
    assert engine_s == pytest.approx(0.06)
    assert means(load, together, 2.0, engine_s).tpot_s == engine_s
    # a client that waits for the last token longer than the engine did saw what users see
    assert means(load, [timing(0.07)] * 12, 2.0, engine_s).tpot_s == pytest.approx(0.07)


def test_times_that_no_clock_tells_are_refused_in_words() -> None:
    together = [Timing(0.0, 0.5, 0.0, 0.5)] * 12
    with pytest.raises(
        MeasureError, match=r"100 \+ 10 tokens, concurrency 4: the tokens of an answer arrive together .* more --output-tokens"
    ):
        means(ClientLoad(100, 10, 4), together, 2.0, None)
    # rounds of answers without any time between tokens do not agree: they say nothing
    enough = enough_for(ClientLoad(100, 10, 4), STOPS)
    assert not enough(together, 1.0)
    assert enough(together * 4, 1.0)


@pytest.mark.parametrize(("decoded", "decode_s", "output_tokens"), [(8, 1.0, 11), (9, 1.0, 11), (9, 2.0, 1), (3, 0.1, 11)])
def test_an_engine_that_tells_nothing_of_its_decoding(decoded: int, decode_s: float, output_tokens: int) -> None:
    before = ServerCounters(0, 0, 8, 0, decoded=8, decode_s=1.0)
    assert ServerCounters(0, 0, 9, 0, decoded=decoded, decode_s=decode_s).tpot_since(before, output_tokens) is None


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=30), st.floats(0.1, 10.0))
def test_the_interval_has_no_unit_and_covers_equal_values_exactly(values: list[float], scale: float) -> None:
    assert half_width_fraction([value * scale for value in values]) == pytest.approx(half_width_fraction(values), rel=1e-6, abs=1e-9)
    assert half_width_fraction([values[0]] * len(values)) == pytest.approx(0.0, abs=1e-6)
    assert half_width_fraction(values[:2]) == math.inf


def test_the_interval_of_three_known_values() -> None:
    # standard error of 1, 2, 3 is 1 / sqrt(3); Student's t with two degrees of freedom is 4.303
    assert half_width_fraction([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3) / fmean([1, 2, 3]))


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ([], None),
        ([measured(1, 1.0)], None),
        ([measured(1, 1.0), measured(2, 1.9)], None),
        ([measured(1, 1.0), measured(2, 1.09)], "throughput no longer grows (1 requests/s with 1, 1.09 now)"),
        # the best load counts, not the one before
        ([measured(1, 1.0), measured(4, 3.0), measured(8, 2.9)], "throughput no longer grows"),
        # few more clients bring little
        ([measured(8, 1.0), measured(9, 1.02)], None),
        ([measured(1, 1.0, ttft_s=1.6)], "TTFT 1.6e+03 ms is far beyond the goal of 500 ms"),
        ([measured(1, 1.0, tpot_s=0.16)], "TPOT 160 ms is far beyond the goal of 50 ms"),
        ([measured(1, 1.0, ttft_s=1.4, tpot_s=0.14)], None),
        ([measured(1, 1.0, tpot_s=None)], None),
    ],
)
def test_when_more_clients_tell_nothing(series: list[LoadMeans], says: str | None) -> None:
    reason = why_stop(series, STOPS)
    assert reason is None if says is None else reason is not None and reason.startswith(says)


def test_without_goals_nothing_is_far_beyond_them() -> None:
    assert why_stop([measured(1, 1.0, ttft_s=100.0)], Stops(60.0, 0.05)) is None


def test_an_engine_that_never_runs_everybody_is_crowded() -> None:
    full = ServerCounters(running=4, waiting=4, ended=0, cached_tokens=0)
    assert crowded([full] * 3, 8)
    assert not crowded([full] * 2, 8)
    assert not crowded([full, full, ServerCounters(running=8, waiting=0, ended=9, cached_tokens=0)], 8)
    # the end of a run, when few are left, says nothing
    assert crowded([full, full, full, ServerCounters(running=4, waiting=0, ended=9, cached_tokens=0)], 8)
    assert not crowded([full, full, full, ServerCounters(running=7, waiting=0, ended=9, cached_tokens=0)], 8)
    assert not crowded([full, full, ServerCounters(running=5, waiting=0, ended=9, cached_tokens=0)], 8)


@given(st.integers(0, 2**64), st.lists(st.integers(1, 12000), min_size=2, max_size=6))
def test_prompts_have_their_length_and_begin_differently(seed: int, lengths: list[int]) -> None:
    prompts = Prompts(seed)
    made = [json.loads(b"[" + prompts.next(length) + b"]") for length in lengths]
    assert [len(prompt) for prompt in made] == lengths
    assert all(1000 <= number < 10000 for prompt in made for number in prompt)
    assert len({prompt[0] for prompt in made}) == len(made)
    other = json.loads(b"[" + Prompts(seed + 1).next(64) + b"]")
    again = json.loads(b"[" + Prompts(seed).next(64) + b"]")
    assert other[:16] != again[:16]
