"""Performance tables of inferno (llm-d workload-variant autoscaler, Apache-2.0): lines through times by batch size.

One entry per model and accelerator says ITL = alpha + beta * batch in ms and, where it has prefill parameters,
TTFT = gamma + delta * input tokens * batch. Each becomes fitted points at batch 1, 2, 4, ... up to maxBatchSize. Read are the forms with
flat alpha and beta (older samples, under perfData or models) and with decodeParms and prefillParms; the form with perfParms or
serviceParms has another formula and is refused.
An accelerator like 4xA100, or accCount, is a tensor-parallel size. Lengths are not in the table: --input-tokens and --output-tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from profiles.sources.engine_fields import EngineFields, needed, provenance, settled
from profiles.sources.reading import SourceRecord, json_records
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import LatencyPoint, Measurements

_TABLES = ("models", "perfData")
_OTHER_FORMULAS = ("perfParms", "serviceParms")
_MULTIPLE = re.compile(r"(\d{1,3})x(.+)")


def recognises(opened: Opened) -> bool:
    """Whether it has a list of entries with model, accelerator and largest batch."""
    top = opened.json
    lists = [top[key] for key in _TABLES if isinstance(top.get(key), list)] if isinstance(top, dict) else []
    return any(isinstance(entry, dict) and {"acc", "maxBatchSize"} <= entry.keys() for found in lists for entry in found[:1])


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """Fitted LatencyPoints at powers of two of the batch size, for every entry."""
    return Measurements(latency=tuple(point for record in json_records(name, raw) for point in _points(record, context)))


def _points(record: SourceRecord, context: Context) -> Iterator[LatencyPoint]:
    key = next((key for key in _TABLES if isinstance(record.values.get(key), list)), _TABLES[0])
    entries = record.items(key)
    if not entries:
        raise record.error(key, "is empty")
    for place, value in enumerate(entries):
        yield from _entry(record.nested(value, f"{key}[{place}]"), context)


def _entry(record: SourceRecord, context: Context) -> Iterator[LatencyPoint]:
    other = next((key for key in _OTHER_FORMULAS if record.has(key)), None)
    if other is not None:
        raise record.error(other, "three parameters of another formula; only decodeParms with prefillParms, and alpha with beta, are read")
    decode = record.table("decodeParms") if record.has("decodeParms") else record
    alpha_ms, beta_ms = decode.amount("alpha"), decode.amount("beta")
    prefill = (record.table("prefillParms") if record.has("prefillParms") else record) if _has_prefill(record) else None
    largest = record.count("maxBatchSize")
    for batch in _batches(largest):
        yield _point(record, context, batch, alpha_ms + beta_ms * batch, prefill)


def _has_prefill(record: SourceRecord) -> bool:
    return record.has("prefillParms") or record.has("gamma")


def _batches(largest: int) -> tuple[int, ...]:
    doubling = [1 << power for power in range(largest.bit_length())]
    return tuple(dict.fromkeys((*doubling, largest)))


def _point(record: SourceRecord, context: Context, batch: int, itl_ms: float, prefill: SourceRecord | None) -> LatencyPoint:
    input_tokens = needed(record, "input_tokens", context.input_tokens, "input_tokens")
    output_tokens = needed(record, "output_tokens", context.output_tokens, "output_tokens")
    ttft_ms = None if prefill is None else prefill.amount("gamma") + prefill.amount("delta") * input_tokens * batch
    fields = _engine(record, context)
    source = provenance(record, context, "inferno", kind="fitted")
    return record.build(
        lambda: LatencyPoint(
            **fields,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=batch,
            ttft_s=None if ttft_ms is None else ttft_ms / 1000,
            tpot_s=itl_ms / 1000,
            provenance=source,
        ),
        {"ttft_s": "gamma", "tpot_s": "alpha"},
    )


def _engine(record: SourceRecord, context: Context) -> EngineFields:
    accelerator = record.text("acc")
    several = _MULTIPLE.fullmatch(accelerator)
    size = (int(several.group(1)) if several else 1) * (record.optional_count("accCount") or 1)
    tp = settled(record, "accCount", size, context.tensor_parallel_size, "tensor_parallel_size")
    return EngineFields(
        model=context.model or record.text("name"),
        gpu=context.gpu or (several.group(2) if several else accelerator),
        mig_profile=context.mig_profile,
        tensor_parallel_size=tp or size,
        pipeline_parallel_size=context.pipeline_parallel_size or 1,
        quantization=context.quantization,
        kv_cache_dtype=context.kv_cache_dtype or "auto",
    )


SOURCE = Source("performance table of inferno (JSON)", recognises, parse)
