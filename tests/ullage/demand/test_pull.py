"""Histories from answers with gaps, and the series of each workload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from planner.demand.recorded import DemandHistory
from planner.spec.errors import SpecError
from profiles.sources.prometheus_range import PrometheusError, RangeAnswer
from tests.fleets import workload
from tests.ullage.commands import write_fleet
from ullage.demand.pull import LookBack, look_back, pulled
from ullage.demand.selectors import selectors

END = datetime(2026, 11, 30, tzinfo=UTC)
LOOK = look_back(END, 4 * 3600, 3600)
REQUESTS = "vllm:request_success_total"


class Answers:
    """A server that knows some series: the values of each step, None where there is no sample."""

    def __init__(self, series: Mapping[str, list[float | None]], warnings: tuple[str, ...] = ()) -> None:
        self.series, self.warnings = series, warnings

    async def ask(self, question: str, first: datetime, last: datetime, step_s: int) -> RangeAnswer:
        times = range(int(first.timestamp()), int(last.timestamp()) + 1, step_s)
        labels: dict[str, str] = {}
        found = tuple(
            (labels, {time_s: value for time_s, value in zip(times, values, strict=True) if value is not None})
            for name, values in self.series.items()
            if name in question and "by (model_name)" not in question
        )
        return RangeAnswer(found, self.warnings)


def pull(server: Answers) -> tuple[DemandHistory, list[str]]:
    said: list[str] = []
    return asyncio.run(pulled(server, {"chat": 'model_name="m"'}, LOOK, said.append)), said


WHOLE: dict[str, list[float | None]] = {
    REQUESTS: [2.0, 4.0, 0.0, 1.0],
    "vllm:prompt_tokens_total": [1000.0, 2000.0, 0.0, 300.0],
    "vllm:generation_tokens_total": [200.0, 400.0, 0.0, 30.0],
    "vllm:request_prompt_tokens_bucket": [1500.0, 1500.0, None, 800.0],
    "vllm:request_generation_tokens_bucket": [300.0, 300.0, None, 80.0],
}


def test_rates_and_lengths_by_step() -> None:
    history, said = pull(Answers(WHOLE))
    chat = history.workloads["chat"]
    assert (history.start, said) == ("2026-11-29T20:00:00Z", [])
    assert chat.rate_rps == (2.0, 4.0, 0.0, 1.0)
    # without requests there are no lengths
    assert chat.input_mean_tokens == (500.0, 500.0, None, 300.0)
    assert chat.output_p99_tokens == (300.0, 300.0, None, 80.0)


def test_late_samples_gaps_and_missing_histograms_are_told() -> None:
    series = {**WHOLE, REQUESTS: [None, 4.0, None, 1.0]}
    del series["vllm:request_prompt_tokens_bucket"]
    history, said = pull(Answers(series, ("results are partial",)))
    assert history.workloads["chat"].rate_rps == (None, 4.0, None, 1.0)
    assert history.workloads["chat"].input_p99_tokens == (None,) * 4
    assert said == [
        "the server says: results are partial",
        "chat: samples begin at 2026-11-29T21:00:00Z, 1 h after the begin of the look-back of 4 h; the server keeps no older ones, or the "
        "model is new",
        "chat: 1 of 4 steps have no sample after the first; they are null in the history",
        "chat: no sample of vllm:request_prompt_tokens; the history has no such lengths of its input",
    ]


def test_no_samples_at_all() -> None:
    with pytest.raises(PrometheusError, match=r"no sample of vllm:request_success_total in 4 h for chat .*the server has no series"):
        pull(Answers({}))


def test_look_backs() -> None:
    assert look_back(datetime(2026, 11, 30, 13, 45, tzinfo=UTC), 7200, 900) == LookBack(datetime(2026, 11, 30, 13, tzinfo=UTC), 7200, 900)
    assert len(look_back(END, 86_400, 300).times) == 288
    for span_s in (1e9 * 3600, 60 * 365 * 86_400):
        with pytest.raises(ValueError, match=r"--lookback"):
            look_back(END, span_s, 3600)


def test_each_workload_has_its_series(tmp_path: Path) -> None:
    models = {"base": {"source": "Qwen/Qwen3-0.6B", "adapters": {"legal": {"source": "o/legal", "rank": 8}}}}
    workloads = {
        "chat": workload("base", isolate=True),
        "law": workload("legal", split="prompt_length"),
        # the forecast is not there yet
        "later": workload("other", demand={"forecast": "forecast.json"}),
    }
    path = write_fleet(tmp_path / "fleet.yaml", models=models, workloads=workloads)
    assert selectors(path, ()) == {
        "chat": 'model_name="chat"',
        "law": 'model_name=~"base|base\\\\-long"',
        "later": 'model_name="other"',
    }
    assert selectors(path, ['chat={tenant="a"}', "law=", "later=x"]) == {"chat": 'tenant="a"', "later": 'model_name="x"'}


def test_fleets_without_series(tmp_path: Path) -> None:
    path = write_fleet(tmp_path / "fleet.yaml", workloads={"a": workload("small"), "b": workload("small")})
    with pytest.raises(ValueError, match=r'workloads a and b have the same series, \{model_name="small"\}: .* counted 2 times'):
        selectors(path, ())
    assert list(selectors(path, ["b="])) == ["a"]
    with pytest.raises(ValueError, match="every workload is left out"):
        selectors(path, ["a=", "b="])
    with pytest.raises(ValueError, match="workloads: there are none"):
        selectors(write_fleet(tmp_path / "none.yaml", workloads={}), ())
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(SpecError):
        selectors(tmp_path / "bad.yaml", ())
