"""Which engine on which GPU a file measured: what the file says, completed by what the user says."""

from __future__ import annotations

from typing import TypedDict, TypeVar

from profiles.sources.reading import SourceRecord
from profiles.sources.source import Context
from profiles.store.measurements import Kind, Provenance

Value = TypeVar("Value", str, int)


class EngineFields(TypedDict):
    """The fields that a LatencyPoint and a StartPoint share."""

    model: str
    gpu: str
    mig_profile: str | None
    tensor_parallel_size: int
    pipeline_parallel_size: int
    quantization: str | None
    kv_cache_dtype: str


def option(field: str) -> str:
    """How the command line spells a field of Context."""
    return f"--{field.replace('_', '-')}"


def settled(record: SourceRecord, key: str, found: Value | None, said: Value | None, field: str) -> Value | None:
    """The file's value or the user's; SourceError when both are there and differ."""
    if found is not None and said is not None and found != said:
        raise record.error(key, f"the file says {found}, {option(field)} says {said}")
    return said if found is None else found


def needed(record: SourceRecord, key: str, value: Value | None, field: str) -> Value:
    """The value; SourceError when neither file nor user says it."""
    if value is None:
        raise record.error(key, f"the file does not say it; give {option(field)}")
    return value


def engine_fields(record: SourceRecord, context: Context, *, model_key: str = "model", gpu_key: str = "gpu") -> EngineFields:
    """The engine a record is about: under the field names of LatencyPoint, but for the two keys; the options come on top."""
    found_model = None if context.model is not None else record.optional_text(model_key)
    found_gpu = None if context.gpu is not None else record.optional_text(gpu_key)
    said_tp, said_pp = context.tensor_parallel_size, context.pipeline_parallel_size
    tp = settled(record, "tensor_parallel_size", record.optional_count("tensor_parallel_size"), said_tp, "tensor_parallel_size")
    pp = settled(record, "pipeline_parallel_size", record.optional_count("pipeline_parallel_size"), said_pp, "pipeline_parallel_size")
    return EngineFields(
        model=needed(record, model_key, context.model or found_model, "model"),
        gpu=needed(record, gpu_key, context.gpu or found_gpu, "gpu"),
        mig_profile=settled(record, "mig_profile", record.optional_text("mig_profile"), context.mig_profile, "mig_profile"),
        tensor_parallel_size=tp or 1,
        pipeline_parallel_size=pp or 1,
        quantization=settled(record, "quantization", record.optional_text("quantization"), context.quantization, "quantization"),
        kv_cache_dtype=settled(record, "kv_cache_dtype", record.optional_text("kv_cache_dtype"), context.kv_cache_dtype, "kv_cache_dtype")
        or "auto",
    )


def provenance(
    record: SourceRecord, context: Context, source: str, *, kind: Kind = "measured", date: str | None = None, engine: str = "vllm"
) -> Provenance:
    """Provenance of a record. engine_version is read from the record; date is the file's, and beats the user's only when that is none."""
    version = settled(record, "engine_version", record.optional_text("engine_version"), context.engine_version, "engine_version")
    settled_date = settled(record, "date", date, context.date, "date")
    return record.build(lambda: Provenance(kind=kind, source=source, date=settled_date, engine=engine, engine_version=version))
