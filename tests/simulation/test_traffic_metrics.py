from __future__ import annotations

import doctest
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation import traffic_metrics
from planner.simulation.traffic_metrics import Percentiles, RequestRecord, meets_slo, quantile, summarise, wilson_interval

SERVED = RequestRecord("chat", "llama", "llama-0", 0.0, 100, 10, 0.2, 0.02, None)
SLOS = {"chat": (0.5, 0.05), "code": (1.0, 0.1)}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.integers(1, 1000))
def test_quantile_is_the_nearest_rank(values: list[float], permille: int) -> None:
    found = quantile(sorted(values), permille)
    assert found in values
    assert sum(value <= found for value in values) * 1000 >= permille * len(values)
    assert sum(value < found for value in values) * 1000 < permille * len(values)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(traffic_metrics) == (0, 2)


def test_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 500)


@given(st.integers(1, 5000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_interval_solves_its_equation(counts: tuple[int, int]) -> None:
    successes, trials = counts
    share = successes / trials
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        # each end is the true share whose 95 % band just reaches the observed one
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / trials), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (2, 1), (-1, 1)])
def test_wilson_interval_of_no_share(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"ttft_s": 0.5, "tpot_s": 0.05}, True),
        ({"ttft_s": 0.51}, False),
        ({"tpot_s": 0.051}, False),
        ({"output_tokens": 1, "tpot_s": None}, True),
        ({"error": "http 503"}, False),
        ({"ttft_s": None}, False),
    ],
)
def test_a_request_must_meet_both_goals(changes: dict[str, object], met: bool) -> None:
    assert meets_slo(replace(SERVED, **changes), 0.5, 0.05) is met  # type: ignore[arg-type]


def test_summary_by_workload_and_in_total() -> None:
    chat = [replace(SERVED, ttft_s=index / 100, tpot_s=0.01) for index in range(1, 101)]
    code = [replace(SERVED, workload="code", error="too_long", ttft_s=None, tpot_s=None)]
    summary = summarise(chat + code, SLOS)
    first, second = summary.workloads
    assert (first.workload, first.requests, first.errors, first.attained) == ("chat", 100, 0, 50)
    assert first.ttft == Percentiles(0.5, 0.95, 0.99)
    assert first.tpot == Percentiles(0.01, 0.01, 0.01)
    assert first.attainment_fraction == 0.5
    assert (second.workload, second.requests, second.errors, second.ttft, second.attainment_fraction) == ("code", 1, 1, None, 0.0)
    assert (summary.total.requests, summary.total.errors, summary.total.attained) == (101, 1, 50)
    assert summary.error_causes == (("too_long", 1),)


def test_the_most_frequent_cause_of_errors_comes_first() -> None:
    errors = ["http 404", "reset", None, "reset", "connect"]
    summary = summarise([replace(SERVED, error=error) for error in errors], SLOS)
    assert summary.error_causes == (("reset", 2), ("connect", 1), ("http 404", 1))


def test_no_percentiles_under_twenty_requests() -> None:
    nineteen = summarise([SERVED] * 19, SLOS).workloads[0]
    assert (nineteen.ttft, nineteen.tpot) == (None, None)
    assert summarise([SERVED] * 20, SLOS).workloads[0].ttft == Percentiles(0.2, 0.2, 0.2)


def test_a_workload_without_requests_has_a_row_without_shares() -> None:
    row = summarise([], SLOS).workloads[1]
    assert (row.workload, row.requests, row.attainment_fraction, row.attainment_low_fraction) == ("code", 0, None, None)


def test_a_record_without_goals_is_an_error() -> None:
    with pytest.raises(ValueError, match="'batch', which has no SLO here; known: chat, code"):
        summarise([replace(SERVED, workload="batch")], SLOS)
