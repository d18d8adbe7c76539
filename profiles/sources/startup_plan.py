"""vLLM's startup_plan_*.json (VLLM_ENABLE_STARTUP_PLAN=1): the KV pool that a start profiled, without naming model, GPU or settings."""

from __future__ import annotations

from profiles.sources.engine_fields import engine_fields, provenance
from profiles.sources.reading import json_records
from profiles.sources.source import Context, Opened, Source
from profiles.store.measurements import Measurements, StartPoint

_MIB = 1 << 20
_SCHEMA = 1


def recognises(opened: Opened) -> bool:
    """Whether it is such a file."""
    return isinstance(opened.json, dict) and {"fingerprint", "kv_cache_memory_bytes", "free_memory_baseline"} <= opened.json.keys()


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One StartPoint: the KV pool and what was free before. Model and GPU type are options."""
    starts = []
    for record in json_records(name, raw):
        if record.count("schema") != _SCHEMA:
            raise record.error("schema", f"is {record.count('schema')}, only {_SCHEMA} is known")
        fields = engine_fields(record, context)
        source = provenance(record, context, "vllm startup_plan")
        build = {"kv_bytes": record.count("kv_cache_memory_bytes"), "init_free_mib": record.count("free_memory_baseline") / _MIB}
        point = record.build(
            lambda fields=fields, build=build, source=source: StartPoint(  # type: ignore[misc]
                **fields, kv_bytes=int(build["kv_bytes"]), init_free_mib=build["init_free_mib"], provenance=source
            )
        )
        starts.append(point)
    return Measurements(starts=tuple(starts))


SOURCE = Source("vLLM startup_plan JSON", recognises, parse)
