"""Entries of the catalogue as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from profiles.gpu_types import GpuType
from profiles.memory.kv import kv_bytes_per_token
from profiles.models import Architecture
from profiles.settings import EngineSettings
from ullage.views.words import MIB_PER_GIB, table

_MEASURES = {
    "memory_usable_mib": "MiB",
    "memory_bandwidth_gb_per_s": "GB/s",
    "bf16_tflops": "TFLOP/s",
    "fp8_tflops": "TFLOP/s",
    "link_gb_per_s": "GB/s, one way",
    "pcie_gb_per_s": "GB/s, one way",
    "price_usd_per_h": "USD/h",
}


def gpus_text(gpus: Sequence[GpuType]) -> str:
    """One line per GPU type."""
    rows = [("GPU type", "memory GiB", "bandwidth GB/s", "bf16 TFLOP/s", "MIG profiles", "USD/h listed")]
    rows += [
        (
            gpu.name,
            f"{gpu.memory_usable_mib / MIB_PER_GIB:.1f}",
            f"{gpu.memory_bandwidth_gb_per_s:g}",
            f"{gpu.bf16_tflops:g}",
            str(len(gpu.mig_profiles) or "-"),
            "-" if gpu.price_usd_per_h is None else f"{gpu.price_usd_per_h:.2f}",
        )
        for gpu in gpus
    ]
    return "\n".join([*table(rows), "", "everything about one, with sources: ullage catalogue gpus NAME"]) + "\n"


def models_text(models: Sequence[Architecture]) -> str:
    """One line per model."""
    rows = [("model", "layers", "parameters", "of these active", "weights", "longest request")]
    rows += [
        (
            model.name,
            str(model.layers),
            _billions(model.parameter_count),
            _billions(model.active_parameter_count),
            model.checkpoint_quant or model.dtype,
            str(model.max_position),
        )
        for model in models
    ]
    return "\n".join([*table(rows), "", "everything about one, with its source: ullage catalogue models NAME"]) + "\n"


def gpu_text(gpu: GpuType) -> str:
    """Every fact about a GPU type, then where they come from."""
    lines = [gpu.name]
    for name, value in gpu_facts(gpu).items():
        if name in {"name", "sources", "mig_profiles", "engine"}:
            continue
        lines.append(f"  {name:<28} {_shown(value)}{' ' + _MEASURES[name] if name in _MEASURES and value is not None else ''}")
    for profile in gpu.mig_profiles:
        starts = ", ".join(map(str, profile.placement_starts)) + (" (older drivers)" if profile.older_driver else "")
        lines.append(
            f"  MIG {profile.name:<24} {profile.memory_mib} MiB, {profile.compute_slices} compute and {profile.memory_slices} memory "
            f"slices, at most {profile.max_count}, at start slots {starts}"
        )
    if gpu.engine is not None:
        lines += [f"  {field.name:<28} {_shown(getattr(gpu.engine, field.name))}" for field in fields(gpu.engine)]
    lines += ["  sources", *(f"    {name}: {source}" for name, source in gpu.sources.items())]
    return "\n".join(lines) + "\n"


def model_text(model: Architecture) -> str:
    """Every fact about a model, what follows from them, and where they come from."""
    lines = [model.name, *_lines(model_facts(model), skip=("name", "source")), f"  source: {model.source}"]
    return "\n".join(lines) + "\n"


def _lines(facts: Mapping[str, Any], skip: tuple[str, ...] = (), indent: str = "  ") -> Iterator[str]:
    for name, value in facts.items():
        if name in skip:
            continue
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _lines(value, indent=indent + "  ")
        else:
            yield f"{indent}{name:<28} {_shown(value)}"


def gpu_facts(gpu: GpuType) -> dict[str, Any]:
    """A GPU type as plain data."""
    facts: dict[str, Any] = _plain(gpu)
    return facts


def model_facts(model: Architecture) -> dict[str, Any]:
    """A model as plain data, with its counts of parameters, and what a token takes of a KV cache in its own type, on one GPU in all."""
    facts: dict[str, Any] = _plain(model)
    source = facts.pop("source")
    return {
        **facts,
        "parameters": model.parameter_count,
        "active_parameters": model.active_parameter_count,
        "kv_bytes_per_token": kv_bytes_per_token(model, EngineSettings()),
        "source": source,
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 -- any part of an entry
    """Dataclasses as mappings, tuples as lists; `asdict` cannot copy read-only mappings."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    match value:
        case None:
            return "none, or not known"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value)


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f}e9"
