"""`vllm bench serve --save-result`: one JSON object per run, or one per line with --append-result.

TTFT, TPOT and end-to-end times are the tool's means in ms. What the file does not hold may be written into it with
`--metadata gpu=H100-SXM-80GB engine_version=0.32.0 tensor_parallel_size=2 ...` or given as options of the import.
"""

from __future__ import annotations

import math
import re
from statistics import fmean

from profiles.sources.engine_fields import engine_fields, provenance
from profiles.sources.reading import SourceRecord, json_records, one_run
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import LatencyPoint, Measurements

_STAMP = re.compile(r"(\d{4})(\d{2})(\d{2})-\d{6}")
_NAMES = {"ttft_s": "mean_ttft_ms", "tpot_s": "mean_tpot_ms", "request_s": "mean_e2el_ms", "rate_rps": "request_throughput"}
# Means in the file against what they are the means of: rounding, not another unit.
_AGREEMENT_FRACTION = 0.05
# A run with more failures measured an overloaded or broken server.
_FAILED_FRACTION = 0.05
# Below this share of the asked rate the concurrency limit held requests back.
_HELD_BACK_FRACTION = 0.9


def recognises(opened: Opened) -> bool:
    """Whether it is a result of `vllm bench serve`."""
    first = opened.json[0] if isinstance(opened.json, list) and opened.json else opened.json
    return isinstance(first, dict) and {"request_throughput", "mean_ttft_ms", "total_output_tokens"} <= first.keys()


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per run."""
    return one_run(name, Measurements(latency=tuple(_point(record, context) for record in json_records(name, raw))))


def _point(record: SourceRecord, context: Context) -> LatencyPoint:
    completed = _completed(record)
    _check_rate(record, completed)
    _check_mean(record, "ttfts", "mean_ttft_ms")
    rate_rps = record.amount("request_throughput")
    fields = engine_fields(record, context, model_key="model_id")
    source = provenance(record, context, "vllm bench serve", date=_date(record))
    return record.build(
        lambda: LatencyPoint(
            **fields,
            input_tokens=max(round(record.count("total_input_tokens") / completed), 1),
            output_tokens=max(round(record.count("total_output_tokens") / completed), 1),
            concurrency=_concurrency(record, context, rate_rps),
            rate_rps=rate_rps,
            ttft_s=record.seconds("mean_ttft_ms"),
            tpot_s=record.seconds("mean_tpot_ms"),
            request_s=record.seconds("mean_e2el_ms"),
            requests=completed,
            provenance=source,
        ),
        _NAMES,
    )


def _completed(record: SourceRecord) -> int:
    completed, failed = record.count("completed"), record.optional_amount("failed") or 0.0
    if failed > _FAILED_FRACTION * (completed + failed):
        raise record.error("failed", f"{failed:.0f} of {completed + failed:.0f} requests failed; measure again")
    return completed


def _check_rate(record: SourceRecord, completed: int) -> None:
    duration_s, rate_rps = record.amount("duration"), record.amount("request_throughput")
    if not math.isclose(rate_rps * duration_s, completed, rel_tol=_AGREEMENT_FRACTION):
        raise record.error(
            "request_throughput",
            f"{rate_rps:g} requests/s over a duration of {duration_s:g} s are not the {completed} completed requests; is a unit wrong?",
        )


def _check_mean(record: SourceRecord, single: str, mean: str) -> None:
    """Detailed results must have the mean that the summary says: a file pieced together or in other units does not."""
    values = record.values.get(single)
    if not isinstance(values, list) or not values or record.optional_amount("failed") or not record.has(mean):
        return
    listed = SourceRecord(record.file, {f"[{place}]": value for place, value in enumerate(values)}, f"{record.prefix}{single}")
    expected_ms = fmean(listed.amount(key) for key in listed.values) * 1000
    said_ms = record.amount(mean)
    if not math.isclose(expected_ms, said_ms, rel_tol=_AGREEMENT_FRACTION):
        raise record.error(mean, f"{said_ms:g} ms, but the {len(values)} times in {single} (s) have a mean of {expected_ms:g} ms")


def _concurrency(record: SourceRecord, context: Context, rate_rps: float) -> int | None:
    """The clients of a closed loop: the limit where it binds; all requests where they came at once; None for arrivals at a rate."""
    limit = record.optional_count("max_concurrency") or context.concurrency
    asked = record.values.get("request_rate")
    if asked is None or (isinstance(asked, str | float) and asked in {"inf", math.inf}):
        return limit or record.optional_count("num_prompts")
    held_back = rate_rps < _HELD_BACK_FRACTION * record.amount("request_rate")
    return limit if held_back else None


def _date(record: SourceRecord) -> str | None:
    """The day of a stamp like 20261123-203321."""
    stamp = record.optional_text("date")
    found = _STAMP.fullmatch(stamp) if stamp is not None else None
    if stamp is not None and found is None:
        raise record.error("date", f"{stamp!r} is no stamp like 20261123-203321")
    return "-".join(found.groups()) if found else None


SOURCE = Source("results of vllm bench serve (JSON)", recognises, parse)
