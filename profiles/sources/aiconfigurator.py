"""Tables of aiconfigurator (NVIDIA, Apache-2.0): measured serving rows, and what its command line estimates.

Measured rows (columns backend ... ttft_ms, tpot_ms, client_concurrency) come from the data that aiconfigurator-core carries. The
estimates are the best_config_topn.csv and pareto.csv that `aiconfigurator cli ... --save-dir` writes for aggregated serving (sdk/common.py,
ColumnsAgg; all times in ms); every point of them is marked as estimated. Nothing of aiconfigurator needs to be installed.
"""

from __future__ import annotations

import re

from profiles.sources.engine_fields import needed, provenance, settled
from profiles.sources.reading import SourceRecord, columns, csv_records
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import Kind, LatencyPoint, Measurements

_MEASURED = frozenset({"backend", "model_path", "system", "isl", "osl", "ttft_ms", "tpot_ms"})
_ESTIMATED = frozenset({"backend", "model", "system", "isl", "osl", "ttft", "tpot", "gemm", "kvcache"})
_DISAGGREGATED = frozenset({"(p)tp", "(d)tp"})
_MEASURED_ON = re.compile(r"\bmeasured=(\d{4}-\d{2}-\d{2})")
# aiconfigurator's GEMM modes (sdk/common.py, GEMMQuantMode) as vLLM's --quantization; what is not here is the checkpoint's own type.
_QUANTIZATION = {
    "fp8": "fp8",
    "fp8_block": "fp8",
    "fp8_static": "fp8",
    "fp8_ootb": "fp8",
    "nvfp4": "nvfp4",
    "int4_wo": "int4",
    "int8_wo": "int8",
    "sq": "int8",
}
_PLAIN = frozenset({"bfloat16", "float16"})


def recognises(opened: Opened) -> bool:
    """Whether the heading is one of the two."""
    found = columns(opened.text)
    return found >= _MEASURED or found >= _ESTIMATED or found >= _DISAGGREGATED


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per row."""
    return Measurements(latency=tuple(_point(record, context) for record in csv_records(name, raw)))


def _point(record: SourceRecord, context: Context) -> LatencyPoint:
    if record.values.keys() & _DISAGGREGATED:
        raise record.error("(p)tp", "rows of disaggregated serving are not one engine and cannot be imported; take the aggregated table")
    return _measured(record, context) if record.has("model_path") else _estimated(record, context)


def _measured(record: SourceRecord, context: Context) -> LatencyPoint:
    found = _MEASURED_ON.search(record.optional_text("silicon_data_source") or "")
    group = record.optional_text("source_group")
    return _row(
        record,
        context,
        kind="measured",
        keys={
            "model": "model_path",
            "quantization": "gemm_quant_mode",
            "version": "backend_version",
            "concurrency": "client_concurrency",
            "tp": "tp_size",
            "pp": "pp_size",
            "dp": "attention_dp_size",
            "ep": "moe_ep_size",
            "ttft_s": "ttft_ms",
            "tpot_s": "tpot_ms",
        },
        source=f"aiconfigurator {group}" if group else "aiconfigurator",
        date=found.group(1) if found else None,
    )


def _estimated(record: SourceRecord, context: Context) -> LatencyPoint:
    keys = {
        "model": "model",
        "quantization": "gemm",
        "version": "version",
        "concurrency": "concurrency",
        "tp": "tp",
        "pp": "pp",
        "dp": "dp",
        "ep": "moe_ep",
        "ttft_s": "ttft",
        "tpot_s": "tpot",
        "request_s": "request_latency",
        "rate_rps": "seq/s",
    }
    return _row(record, context, kind="estimated", keys=keys, source="aiconfigurator cli", date=None)


def _row(record: SourceRecord, context: Context, *, kind: Kind, keys: dict[str, str], source: str, date: str | None) -> LatencyPoint:
    # the version's column has another name here; provenance reads it under its own
    renamed = SourceRecord(record.file, {**record.values, "engine_version": record.values.get(keys["version"])}, record.prefix)
    origin = provenance(renamed, context, source, kind=kind, date=date, engine=record.text("backend"))
    quantization = settled(record, keys["quantization"], _quantization(record, keys["quantization"]), context.quantization, "quantization")
    tp = settled(record, keys["tp"], _size(record, keys["tp"]), context.tensor_parallel_size, "tensor_parallel_size")
    pp = settled(record, keys["pp"], _size(record, keys["pp"]), context.pipeline_parallel_size, "pipeline_parallel_size")
    concurrency = settled(record, keys["concurrency"], record.optional_count(keys["concurrency"]), context.concurrency, "concurrency")
    return record.build(
        lambda: LatencyPoint(
            model=context.model or record.text(keys["model"]),
            gpu=context.gpu or record.text("system"),
            mig_profile=context.mig_profile,
            tensor_parallel_size=needed(record, keys["tp"], tp, "tensor_parallel_size"),
            pipeline_parallel_size=pp or 1,
            attention_data_parallel_size=_size(record, keys["dp"]) or 1,
            expert_parallel_size=_size(record, keys["ep"]) or 1,
            quantization=quantization,
            kv_cache_dtype=_kv_cache_dtype(record, context),
            input_tokens=record.count("isl"),
            output_tokens=record.count("osl"),
            concurrency=concurrency,
            rate_rps=record.optional_amount(keys["rate_rps"]) or None if "rate_rps" in keys else None,
            ttft_s=record.seconds(keys["ttft_s"]),
            tpot_s=record.seconds(keys["tpot_s"]),
            request_s=record.seconds(keys["request_s"]) if "request_s" in keys else None,
            provenance=origin,
        ),
        keys,
    )


def _size(record: SourceRecord, key: str) -> int | None:
    """A parallel size; aiconfigurator writes 0 as well as nothing for none."""
    return record.count(key) if record.optional_amount(key) else None


def _quantization(record: SourceRecord, key: str) -> str | None:
    mode = record.optional_text(key)
    if mode is None or mode in _PLAIN:
        return None
    if mode not in _QUANTIZATION:
        raise record.error(key, f"unknown mode {mode!r} (known: {', '.join(sorted((*_QUANTIZATION, *_PLAIN)))})")
    return _QUANTIZATION[mode]


def _kv_cache_dtype(record: SourceRecord, context: Context) -> str:
    mode = record.optional_text("kvcache")
    found = None if mode is None or mode in _PLAIN else mode
    return settled(record, "kvcache", found, context.kv_cache_dtype, "kv_cache_dtype") or "auto"


SOURCE = Source("tables of aiconfigurator (CSV)", recognises, parse)
