"""The history of demand of a fleet, asked of a Prometheus server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from planner.demand.recorded import HOUR_S, MOST_STEPS, DemandHistory, RecordedWorkload, Series, Tell, rounded, written
from profiles.sources.prometheus_range import (
    INPUT_LENGTHS,
    INPUT_TOKENS,
    MOST_POINTS,
    OUTPUT_LENGTHS,
    OUTPUT_TOKENS,
    REQUESTS,
    PrometheusError,
    models_question,
    p99_question,
    rate_question,
)
from ullage.demand.prometheus_server import AskRange


@dataclass(frozen=True, slots=True)
class LookBack:
    """Steps of equal length that end at a whole hour."""

    end: datetime
    span_s: int
    step_s: int

    @property
    def start(self) -> datetime:
        """When the first step begins."""
        return self.end - timedelta(seconds=self.span_s)

    @property
    def times(self) -> range:
        """The ends of the steps, in seconds since 1970."""
        return range(int(self.start.timestamp()) + self.step_s, int(self.end.timestamp()) + 1, self.step_s)


def look_back(end: datetime, span_s: float, step_s: float) -> LookBack:
    """A look-back that ends at the last whole hour before end; ValueError names the option that is wrong."""
    if step_s < 60 or step_s % 1 or HOUR_S % step_s:
        raise ValueError(f"--step {step_s:g}s: must divide an hour and be at least a minute, for example 5min, 15min or 1h")
    if span_s < HOUR_S or span_s % HOUR_S:
        raise ValueError(f"--lookback {span_s:g}s: must be whole hours, for example 14d")
    steps = span_s / step_s
    if steps > min(MOST_POINTS, MOST_STEPS):
        raise ValueError(f"--lookback in steps of {step_s:g} s is {steps:g} steps; Prometheus answers {MOST_POINTS}: take a longer --step")
    whole = end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    try:
        return LookBack(whole, int(span_s), int(step_s)) if (whole - timedelta(seconds=span_s + step_s)).year >= 1970 else _too_long(span_s)
    except OverflowError:
        return _too_long(span_s)


def _too_long(span_s: float) -> LookBack:
    raise ValueError(f"--lookback {span_s:g}s: begins before 1970")


async def pulled(server: AskRange, selectors: Mapping[str, str], look: LookBack, warn: Tell) -> DemandHistory:
    """The history of each workload of which the server has samples; warn hears of the others, and of gaps.

    Raises PrometheusError where there are none at all, or the server cannot be asked.
    """
    told: set[str] = set()

    def warn_once(text: str) -> None:
        if text not in told:
            told.add(text)
            warn(text)

    found: dict[str, RecordedWorkload] = {}
    for name, selector in selectors.items():
        recorded = await _workload(server, name, selector, look, warn_once)
        if recorded is not None:
            found[name] = recorded
    missing = sorted(set(selectors) - set(found))
    if missing:
        known = await server.ask(models_question(look.span_s), look.end, look.end, look.step_s)
        models = sorted({labels["model_name"] for labels, _ in known.series if "model_name" in labels})
        there = f"the server has requests of {', '.join(models[:8])}" if models else "the server has no series of vLLM's requests"
        lacking = ", ".join(f"{name} ({{{selectors[name]}}})" for name in missing[:8])
        text = f"no sample of vllm:{REQUESTS} in {look.span_s / HOUR_S:g} h for {lacking}; {there}; name the right ones with --map"
        if not found:
            raise PrometheusError(text)
        warn(f"{text}; left out")
    return DemandHistory(start=written(look.start), step_s=look.step_s, workloads=found)


async def _workload(server: AskRange, name: str, selector: str, look: LookBack, warn: Tell) -> RecordedWorkload | None:
    async def ask(question: str) -> Mapping[int, float]:
        first, last = (datetime.fromtimestamp(look.times[index], UTC) for index in (0, -1))
        answer = await server.ask(question, first, last, look.step_s)
        for text in answer.warnings:
            warn(f"the server says: {text}")
        if len(answer.series) > 1:
            raise PrometheusError(f"{name}: {len(answer.series)} series where a sum is one; is this server a Prometheus?")
        return answer.values()

    requests_rps = await ask(rate_question(REQUESTS, selector, look.step_s))
    if not any(time_s in requests_rps for time_s in look.times):
        return None
    _warn_gaps(name, [time_s for time_s in look.times if time_s in requests_rps], look, warn)
    columns: dict[str, Series] = {}
    for what, tokens, lengths in (("input", INPUT_TOKENS, INPUT_LENGTHS), ("output", OUTPUT_TOKENS, OUTPUT_LENGTHS)):
        tokens_per_s = await ask(rate_question(tokens, selector, look.step_s))
        p99_tokens = await ask(p99_question(lengths, selector, look.step_s))
        asked = [time_s for time_s in look.times if requests_rps.get(time_s)]
        columns[f"{what}_mean_tokens"] = tuple(_ratio(tokens_per_s.get(time_s), requests_rps.get(time_s)) for time_s in look.times)
        columns[f"{what}_p99_tokens"] = tuple(_kept(p99_tokens.get(time_s)) for time_s in look.times)
        for series, values in ((tokens, tokens_per_s), (lengths, p99_tokens)):
            if asked and not any(time_s in values for time_s in asked):
                warn(f"{name}: no sample of vllm:{series}; the history has no such lengths of its {what}")
    return RecordedWorkload(selector=selector, rate_rps=tuple(_kept(requests_rps.get(time_s)) for time_s in look.times), **columns)


def _warn_gaps(name: str, known: list[int], look: LookBack, warn: Tell) -> None:
    """Samples that begin late, and those that are missing after the first."""
    late_s = known[0] - look.times[0]
    if late_s:
        begins = written(datetime.fromtimestamp(known[0] - look.step_s, UTC))
        warn(
            f"{name}: samples begin at {begins}, {late_s / HOUR_S:g} h after the begin of the look-back of {look.span_s / HOUR_S:g} h; "
            "the server keeps no older ones, or the model is new"
        )
    gaps = len([time_s for time_s in look.times if time_s >= known[0]]) - len(known)
    if gaps:
        warn(f"{name}: {gaps} of {len(look.times)} steps have no sample after the first; they are null in the history")


def _ratio(tokens_per_s: float | None, requests_rps: float | None) -> float | None:
    return rounded(tokens_per_s / requests_rps) if tokens_per_s is not None and requests_rps else None


def _kept(value: float | None) -> float | None:
    return None if value is None else rounded(value)
