"""A fleet file whose demand is a forecast: windows by the hour of UTC, and every fault with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from planner.demand.forecast import DemandForecast, SeasonalDemand
from planner.demand.windows import CLOCK, DemandProfile
from planner.plan.json_files import to_json
from tests.planner.spec.fleet_files import FLEET, changed, load, problems

DEMAND = "{rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}"


def forecast(hours: int = 168, **fields: Any) -> bytes:
    columns: dict[str, Any] = {
        "rate_rps": tuple(float(hour % 24) for hour in range(hours)) if hours > 1 else (2.0,),
        "input_mean_tokens": (500.0,) * hours,
        "input_p99_tokens": (2000.0,) * hours,
        "output_mean_tokens": (100.0,) * hours,
        "output_p99_tokens": (400.0,) * hours,
    }
    columns["upper_rps"] = tuple(rate_rps * 2 for rate_rps in columns["rate_rps"])
    demand = SeasonalDemand(method="seasonal", back_test=None, **{**columns, **fields})
    found = DemandForecast(history_start="2026-11-16T00:00:00Z", history_s=3600, band_quantile=0.9, workloads={"chat": demand})
    return to_json(found).encode()


def fleet(demand: str) -> str:
    return changed(DEMAND, demand)


def profile(raw: bytes, demand: str = "{forecast: f.json}") -> DemandProfile:
    return load(fleet(demand), {"f.json": raw}).workloads[0].demand


def test_every_hour_is_a_window_as_high_as_the_band() -> None:
    found = profile(forecast())
    # nothing is asked from midnight to one
    assert len(found.windows) == 7 * 23
    assert (found.timeline, found.every_s, found.peak_rps) == (CLOCK, 604_800, 46.0)
    first = found.windows[0]
    assert (first.start_s, first.end_s, first.rate_rps) == (3600.0, 7200.0, 2.0)
    assert (first.input.mean_tokens, first.input.p99_tokens, first.output.p99_tokens) == (500, 2000, 400)


def test_a_day_repeats_itself_and_one_rate_is_constant() -> None:
    assert profile(forecast(24)).every_s == 86_400
    found = profile(forecast(1))
    assert (found.timeline, found.peak_rps, len(found.windows)) == (None, 4.0, 1)


def test_lengths_fit_the_model() -> None:
    # p99 is the bound of a bucket: it may be longer than any request was, and shorter than the mean
    found = profile(forecast(1, input_p99_tokens=(1e6,), output_p99_tokens=(50.0,)))
    (window,) = found.windows
    assert window.input.p99_tokens == load(FLEET).models[0].max_model_len - 100
    assert window.output.p99_tokens == 100
    assert profile(forecast(1, input_p99_tokens=())).windows[0].input.p99_tokens == 500


def test_the_file_is_among_what_the_plan_was_made_from() -> None:
    raw = forecast()
    assert set(load(fleet("{forecast: ./f.json}"), {"f.json": raw}).hashes) == {"fleet.yaml", "./f.json"}
    split = load(fleet("{forecast: f.json}") + "    split: prompt_length\n", {"f.json": raw}).workloads[0]
    assert split.splits


OLD = forecast().replace(b'"schema_version": 1', b'"schema_version": 0')


@pytest.mark.parametrize(
    ("demand", "raw", "expected"),
    [
        ("{forecast: g.json}", b"", "'g.json' cannot be read: No such file or directory; `ullage demand forecast` makes it"),
        ("{forecast: f.json}", b"{}", "demand.forecast: f.json: is no demand forecast: kind is 'None'"),
        ("{forecast: f.json}", OLD, "demand.forecast: f.json: schema_version is 0, this ullage reads 1; make the file again"),
        ("{forecast: f.json, workload: chta}", forecast(), "demand.workload: f.json has no workload 'chta'; did you mean 'chat'?"),
        ("{forecast: f.json, workload: x}", forecast(), "demand.workload: f.json has no workload 'x'; it has chat"),
        ("{forecast: f.json, wrkload: x}", forecast(), "demand.wrkload: unknown field; did you mean 'workload'?"),
        ("{forecast: f.json, rate: 1/s}", forecast(), "trace, forecast or requests; found rate, forecast"),
        ("{forecast: f.json}", forecast(1, input_mean_tokens=()), "demand.forecast: has no input lengths: none were recorded"),
        ("{forecast: f.json}", forecast(1, output_mean_tokens=()), "demand.forecast: has no output lengths"),
        ("{forecast: f.json}", forecast(1, input_mean_tokens=(1e6,)), "are longer than max_model_len"),
    ],
)  # fmt: skip
def test_what_is_wrong(demand: str, raw: bytes, expected: str) -> None:
    (message,) = problems(fleet(demand), {"f.json": raw})
    assert expected in message
    assert message.startswith("fleet.yaml:14:")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rate_rps": [1.0, 2.0]}, "rate_rps has 2 hours, it must be one of 1, 24, 168"),
        ({"rate_rps": [5.0], "upper_rps": [1.0]}, "upper_rps is below rate_rps"),
        ({"rate_rps": [0.0], "upper_rps": [0.0]}, "upper_rps is 0 in every hour"),
        ({"upper_rps": []}, "upper_rps has 0 hours, rate_rps has 1"),
        ({"input_mean_tokens": [1.0, 1.0]}, "input_mean_tokens has 2 hours, rate_rps has 1"),
    ],
)
def test_forecasts_that_contradict_themselves(change: dict[str, Any], expected: str) -> None:
    raw = json.loads(forecast(1))
    raw["workloads"]["chat"].update(change)
    (message,) = problems(fleet("{forecast: f.json}"), {"f.json": json.dumps(raw).encode()})
    assert expected in message
