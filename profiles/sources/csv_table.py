"""Plain CSV of latency measurements: the columns are the fields of LatencyPoint and Provenance, times in s or in ms.

Required: model and gpu (or the options), input_tokens, output_tokens, and at least one of the times or rate_rps. A time may be given
as ttft_s or ttft_ms, tpot_s or tpot_ms, request_s or request_ms. What `ullage profile export` writes is such a table.
"""

from __future__ import annotations

from pathlib import PurePath

from profiles.sources.engine_fields import engine_fields, needed, provenance, settled
from profiles.sources.reading import SourceRecord, columns, csv_records
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import KINDS, STATISTICS, Kind, LatencyPoint, Measurements, Statistic

ENGINE_COLUMNS = (
    "model",
    "gpu",
    "mig_profile",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "attention_data_parallel_size",
    "expert_parallel_size",
    "quantization",
    "kv_cache_dtype",
)
LOAD_COLUMNS = ("input_tokens", "output_tokens", "concurrency", "rate_rps")
TIMES = ("ttft", "tpot", "request")
PROVENANCE_COLUMNS = ("kind", "source", "date", "engine", "engine_version")
COLUMNS = frozenset(
    (
        *ENGINE_COLUMNS,
        *LOAD_COLUMNS,
        *(f"{time}_{unit}" for time in TIMES for unit in ("s", "ms")),
        "statistic",
        "requests",
        *PROVENANCE_COLUMNS,
    )
)


def recognises(opened: Opened) -> bool:
    """Whether its heading names lengths and something that was measured."""
    found = columns(opened.text)
    measured = {"rate_rps", *(f"{time}_{unit}" for time in TIMES for unit in ("s", "ms"))}
    return {"input_tokens", "output_tokens"} <= found and bool(found & measured)


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per row."""
    return Measurements(latency=tuple(_point(record, context) for record in csv_records(name, raw)))


def _point(record: SourceRecord, context: Context) -> LatencyPoint:
    unknown = sorted(set(record.values) - COLUMNS)
    if unknown:
        raise record.error(unknown[0], f"unknown column (known: {', '.join(sorted(COLUMNS))})")
    fields = engine_fields(record, context)
    source = provenance(
        record,
        context,
        # without its folder: the store must not depend on where somebody's file lay
        record.optional_text("source") or PurePath(record.file).name,
        kind=_kind(record),
        date=record.optional_text("date"),
        engine=record.optional_text("engine") or "vllm",
    )
    concurrency = settled(record, "concurrency", record.optional_count("concurrency"), context.concurrency, "concurrency")
    return record.build(
        lambda: LatencyPoint(
            **fields,
            attention_data_parallel_size=record.optional_count("attention_data_parallel_size") or 1,
            expert_parallel_size=record.optional_count("expert_parallel_size") or 1,
            input_tokens=_length(record, "input_tokens", context.input_tokens),
            output_tokens=_length(record, "output_tokens", context.output_tokens),
            concurrency=concurrency,
            rate_rps=record.optional_amount("rate_rps"),
            ttft_s=_time_s(record, "ttft"),
            tpot_s=_time_s(record, "tpot"),
            request_s=_time_s(record, "request"),
            statistic=_statistic(record),
            requests=record.optional_count("requests"),
            provenance=source,
        ),
        {f"{time}_s": f"{time}_ms" for time in TIMES if record.has(f"{time}_ms")},
    )


def _length(record: SourceRecord, key: str, said: int | None) -> int:
    return needed(record, key, settled(record, key, record.optional_count(key), said, key), key)


def _time_s(record: SourceRecord, name: str) -> float | None:
    in_s, in_ms = f"{name}_s", f"{name}_ms"
    if record.has(in_s) and record.has(in_ms):
        raise record.error(in_ms, f"{in_s} is given too; keep one")
    found = record.seconds(in_ms) if record.has(in_ms) else record.seconds(in_s, 1.0)
    if found is None and (record.has(in_s) or record.has(in_ms)):
        raise record.error(in_ms if record.has(in_ms) else in_s, "must be above 0; leave the cell empty where nothing was measured")
    return found


def _kind(record: SourceRecord) -> Kind:
    text = record.optional_text("kind") or "measured"
    for kind in KINDS:
        if text == kind:
            return kind
    raise record.error("kind", f"must be one of {', '.join(KINDS)}, is {text!r}")


def _statistic(record: SourceRecord) -> Statistic:
    text = record.optional_text("statistic") or "mean"
    for statistic in STATISTICS:
        if text == statistic:
            return statistic
    raise record.error("statistic", f"must be one of {', '.join(STATISTICS)}, is {text!r}")


SOURCE = Source("table of measurements (CSV)", recognises, parse)
