"""Histories of demand: what is read, what is refused, and what an hour of several steps is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from planner.demand.forecast import DemandForecast
from planner.demand.recorded import DemandFileError, DemandHistory, RecordedWorkload, hourly, moment_of, read_document, rounded
from planner.plan.json_files import to_json


def history(rates_rps: Sequence[float | None], step_s: int = 3600, start: str = "2026-11-16T00:00:00Z", **lengths: Any) -> DemandHistory:
    columns: dict[str, Any] = {
        "input_mean_tokens": (500.0,) * len(rates_rps),
        "input_p99_tokens": (2000.0,) * len(rates_rps),
        "output_mean_tokens": (100.0,) * len(rates_rps),
        "output_p99_tokens": (400.0,) * len(rates_rps),
        **lengths,
    }
    workload = RecordedWorkload(selector='model_name="m"', rate_rps=tuple(rates_rps), **columns)
    return DemandHistory(start=start, step_s=step_s, workloads={"chat": workload})


def test_what_is_written_is_read() -> None:
    known = history([1.0, None, 0.0])
    assert read_document(DemandHistory, to_json(known).encode(), "d.json") == known
    assert (known.span_s, known.first_hour) == (3 * 3600, 0)
    assert history([1.0], start="2026-11-18T05:00:00Z").first_hour == 2 * 24 + 5


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("start", "2026-11-16T00:30:00Z", "d.json: file: Value error, 2026-11-16T00:30:00Z is no whole hour"),
        ("start", "2026-11-16T00:00:00+01:00", "is no time; write it in UTC"),
        ("step_s", 700, "step_s 700 does not divide an hour, 3600 s"),
        ("step_s", 59, "d.json: step_s: Input should be greater than or equal to 60"),
        ("step_s", 7200, "step_s: Input should be less than or equal to 3600"),
        ("workloads", {}, "workloads: Dictionary should have at least 1 item"),
        ("workload", {}, "d.json: workload: Extra inputs are not permitted"),
        ("schema_version", 2, "d.json: schema_version is 2, this ullage reads 1; make the file again"),
        ("kind", "plan", "d.json: is no demand history: kind is 'plan'"),
    ],
)
def test_wrong_fields(field: str, value: object, expected: str) -> None:
    raw = json.loads(to_json(history([1.0])))
    with pytest.raises(DemandFileError) as error:
        read_document(DemandHistory, json.dumps({**raw, field: value}).encode(), "d.json")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([1.0], "workloads.chat.input_mean_tokens has 2 steps, others have 1"),
        ([-1.0, 0.0], "workloads.chat.rate_rps.0: Input should be greater than or equal to 0"),
        ([], "has 0 steps"),
        (["a", 1.0], "workloads.chat.rate_rps.0: Input should be a valid number"),
        ([float("nan"), 1.0], "rate_rps.0: "),
    ],
)
def test_wrong_series(series: list[object], expected: str) -> None:
    raw = json.loads(to_json(history([1.0, 2.0])))
    raw["workloads"]["chat"]["rate_rps"] = series
    with pytest.raises(DemandFileError) as error:
        read_document(DemandHistory, json.dumps(raw).encode(), "d.json")
    assert expected in str(error.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_other_files(raw: bytes) -> None:
    with pytest.raises(DemandFileError, match=r"^d\.json: is no demand forecast: "):
        read_document(DemandForecast, raw, "d.json")


def test_an_hour_of_several_steps() -> None:
    known = history(
        [1.0, 3.0, None, None, None, 2.0],
        step_s=1800,
        input_mean_tokens=(100.0, 200.0, None, None, None, 50.0),
        input_p99_tokens=(900.0, 800.0, None, None, None, None),
    )
    found = hourly(known, known.workloads["chat"])
    np.testing.assert_array_equal(found["rate_rps"], [2.0, np.nan, 2.0])
    # a mean over requests: one of 100 tokens for three of 200
    np.testing.assert_array_equal(found["input_mean_tokens"], [175.0, np.nan, 50.0])
    np.testing.assert_array_equal(found["input_p99_tokens"], [900.0, np.nan, np.nan])


def test_numbers_and_times() -> None:
    assert (rounded(1 / 3), rounded(123456789.0), rounded(0.0)) == (0.333333, 123457000.0, 0.0)
    assert moment_of("2026-11-16T00:00:00Z").weekday() == 0
