"""guidellm's JSON report: one LatencyPoint per benchmark in it, from the means over its successful requests.

TPOT is its inter-token latency; what it calls time per output token divides the whole request by its tokens. Read as written by guidellm
0.8 (report version 2) and, without a top-level config, by 0.3 to 0.5.
"""

from __future__ import annotations

from datetime import UTC, datetime

from profiles.sources.engine_fields import engine_fields, provenance
from profiles.sources.reading import SourceRecord, json_records, one_run
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import LatencyPoint, Measurements

_NAMES = {
    "ttft_s": "metrics.time_to_first_token_ms.successful.mean",
    "tpot_s": "metrics.inter_token_latency_ms.successful.mean",
    "request_s": "metrics.request_latency.successful.mean",
    "rate_rps": "metrics.requests_per_second.successful.mean",
}
# A run with more failures measured an overloaded or broken server.
_FAILED_FRACTION = 0.05
_RATES = ("async", "constant", "poisson", "trace")


def recognises(opened: Opened) -> bool:
    """Whether it is a report of guidellm."""
    top = opened.json
    if not isinstance(top, dict) or not isinstance(top.get("benchmarks"), list) or not top["benchmarks"]:
        return False
    first = top["benchmarks"][0]
    return isinstance(first, dict) and isinstance(first.get("metrics"), dict) and "time_to_first_token_ms" in first["metrics"]


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per benchmark."""
    points = []
    for report in json_records(name, raw):
        for place, value in enumerate(report.items("benchmarks")):
            points.append(_point(report.nested(value, f"benchmarks[{place}]"), context))
    return one_run(name, Measurements(latency=tuple(points)))


def _mean(metrics: SourceRecord, metric: str) -> SourceRecord:
    return metrics.table(metric).table("successful")


def _point(record: SourceRecord, context: Context) -> LatencyPoint:
    metrics, backend = record.table("metrics"), record.table("config").table("backend")
    requests = _successful(metrics.table("request_totals"))
    fields = engine_fields(backend, context)
    source = provenance(backend, context, "guidellm", date=_date(record))
    return record.build(
        lambda: LatencyPoint(
            **fields,
            input_tokens=round(_mean(metrics, "prompt_token_count").amount("mean")),
            output_tokens=round(_mean(metrics, "output_token_count").amount("mean")),
            concurrency=_concurrency(record.table("config").table("strategy"), requests),
            rate_rps=_mean(metrics, "requests_per_second").amount("mean"),
            ttft_s=_mean(metrics, "time_to_first_token_ms").seconds("mean"),
            tpot_s=_mean(metrics, "inter_token_latency_ms").seconds("mean"),
            request_s=_mean(metrics, "request_latency").seconds("mean", 1.0),
            requests=requests,
            provenance=source,
        ),
        _NAMES,
    )


def _successful(totals: SourceRecord) -> int:
    successful, errored = totals.count("successful"), totals.optional_amount("errored") or 0.0
    if errored > _FAILED_FRACTION * (successful + errored):
        raise totals.error("errored", f"{errored:.0f} of {successful + errored:.0f} requests failed; measure again")
    return successful


def _concurrency(strategy: SourceRecord, requests: int) -> int | None:
    """Clients of a closed loop, None for arrivals at a rate; all requests where they came at once."""
    kind = strategy.text("type_")
    if kind in _RATES:
        return None
    if kind == "synchronous":
        return 1
    if kind == "concurrent":
        return strategy.count("streams")
    if kind == "throughput":
        return strategy.optional_count("max_concurrency") or requests
    raise strategy.error("type_", f"unknown strategy {kind!r} (known: synchronous, concurrent, throughput, {', '.join(_RATES)})")


def _date(record: SourceRecord) -> str | None:
    start_s = record.optional_amount("start_time")
    if not start_s:
        return None
    try:
        return datetime.fromtimestamp(start_s, UTC).date().isoformat()
    except (OverflowError, OSError, ValueError):
        raise record.error("start_time", f"{start_s:g} s is no time since 1970") from None


SOURCE = Source("report of guidellm (JSON)", recognises, parse)
