"""A saved /metrics page of a vLLM server: the KV pool that the engine made of its memory (cache_config_info).

A page with bytes is of an engine that was told them: no budget made its pool. One without tells what was found by its blocks.

Times on such a page are sums over everything since the start, warm-up included, at a load nobody recorded: they are not imported.
"""

from __future__ import annotations

from profiles.sources.engine_fields import engine_fields, provenance, settled
from profiles.sources.prometheus_text import PREFIXES, Sample, samples
from profiles.sources.reading import SourceRecord, one_run, text_of
from profiles.sources.source import Context, Opened, Source, SourceError
from profiles.store.measurements import Measurements, StartPoint

_INFO = "cache_config_info"
_NAMES = {
    "kv_bytes": "kv_cache_memory_bytes",
    "kv_tokens": "kv_cache_size_tokens",
    "kv_blocks": "num_gpu_blocks",
    "max_concurrency": "kv_cache_max_concurrency",
    "gpu_memory_utilization_fraction": "gpu_memory_utilization",
}


def recognises(opened: Opened) -> bool:
    """Whether it is a page of metrics with vLLM's series."""
    return any(f"\n{prefix}" in f"\n{opened.text}" for prefix in PREFIXES) and "# TYPE " in opened.text


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One StartPoint per engine behind the page; engines of one configuration with equal pools are one point."""
    found = tuple(samples(text_of(name, raw)))
    infos = [sample for sample in found if sample.name == _INFO]
    if not infos:
        raise SourceError(f"{name}: vllm:{_INFO}: missing; is it the whole page of a vLLM server?")
    points = dict.fromkeys(_point(name, info, _model(name, found), context) for info in infos)
    return one_run(name, Measurements(starts=tuple(points)))


def _model(name: str, found: tuple[Sample, ...]) -> str | None:
    names = sorted({sample.labels["model_name"] for sample in found if "model_name" in sample.labels})
    if len(names) > 1:
        raise SourceError(f"{name}: model_name: several models on one page: {', '.join(names)}")
    return names[0] if names else None


def _point(name: str, info: Sample, model: str | None, context: Context) -> StartPoint:
    # vLLM writes what is not set as None
    labels = {key: value for key, value in info.labels.items() if value not in {"None", ""}}
    record = SourceRecord(name, {**labels, "model": model}, f"vllm:{_INFO}.")
    fields = engine_fields(record, context)
    cache_dtype = None if labels.get("cache_dtype", "auto") == "auto" else labels["cache_dtype"]
    fields["kv_cache_dtype"] = settled(record, "cache_dtype", cache_dtype, context.kv_cache_dtype, "kv_cache_dtype") or "auto"
    source = provenance(record, context, "vllm /metrics")
    given_bytes = record.optional_count("kv_cache_memory_bytes")
    return record.build(
        lambda: StartPoint(
            **fields,
            block_size=record.optional_count("block_size"),
            gpu_memory_utilization_fraction=None if given_bytes else record.optional_amount("gpu_memory_utilization"),
            kv_bytes=given_bytes,
            kv_tokens=record.optional_count("kv_cache_size_tokens"),
            kv_blocks=record.optional_count("num_gpu_blocks"),
            max_concurrency=record.optional_amount("kv_cache_max_concurrency"),
            provenance=source,
        ),
        _NAMES,
    )


SOURCE = Source("saved /metrics page of a vLLM server (text)", recognises, parse)
