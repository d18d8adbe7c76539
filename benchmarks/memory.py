"""How far the memory model is from logged start-ups.

    python -m benchmarks.memory FILE.csv [--rows]

The CSV (plain or gzip) has one start per row: columns model, gpu, gpu_total_gib, tp, pp, dtype, quant, kv_dtype, max_model_len,
max_num_batched_tokens, max_num_seqs, enforce_eager, gpu_memory_utilization, vllm_version, weights_gib, kv_gib; others are ignored. The KV
pool is predicted from the logged weights and judged against the logged pool; of a pipeline both are those of its first stage, whose worker
logs first. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from benchmarks.table import cell, number, optional_count, optional_number, read_table
from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.memory.engine_constants import constants_for
from profiles.memory.ledger import kv_pool_bytes, stage_parts
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.usual_limits import usual_limits

_GIB = 1 << 30
_NEEDED = ("model", "gpu", "vllm_version", "gpu_memory_utilization", "weights_gib", "kv_gib")
# Spellings of "not given" in such files, and of element types that vLLM writes out.
_ABSENT = ("", "none", "null", "nan", "auto")
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", **dict.fromkeys(_ABSENT, "auto")}
# vLLM's names of methods: those that read the format from the checkpoint, and kernels under another name than their format.
_CONTAINERS = ("compressed-tensors", "modelopt", "quark")
_METHODS = {"awq_marlin": "awq", "fbgemm_fp8": "fp8", "gptq_marlin": "gptq", "modelopt_fp4": "nvfp4"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Prediction over log, less one, of one start; None where the row has no such value."""

    label: str
    kv_error_fraction: float | None
    weights_error_fraction: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Error of the memory model against logged start-ups.")
    parser.add_argument("file", type=Path, help="CSV of start-ups")
    parser.add_argument("--rows", action="store_true", help="print every row")
    options = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    refused: list[str] = []
    try:
        rows = read_table(options.file, _NEEDED)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for line, row in enumerate(rows, start=2):
        try:
            outcomes.append(outcome(row))
        except ValueError as error:
            refused.append(f"line {line}: {error}")
    _print(outcomes, refused, options.rows)
    return 0


def outcome(row: Mapping[str, str]) -> Outcome:
    """The errors of one row; ValueError says why the model cannot predict it."""
    architecture, gpu = builtin().model(row["model"]), builtin().gpu(row["gpu"])
    settings = settings_of(row, architecture, gpu)
    constants = constants_for(settings.engine_version)
    parts = stage_parts(architecture, gpu, settings)[0]
    utilization_fraction = number(row, "gpu_memory_utilization")
    if utilization_fraction > 1:
        raise ValueError(f"gpu_memory_utilization is {utilization_fraction:g}, it is a share of the memory and at most 1")
    total_gib = optional_number(row, "gpu_total_gib") or gpu.memory_usable_mib / 1024
    weights_bytes = _within(number(row, "weights_gib"), total_gib, "weights_gib") * _GIB
    logged_kv_gib = optional_number(row, "kv_gib")
    predicted_bytes = kv_pool_bytes(replace(parts, weights_bytes=weights_bytes), total_gib * _GIB, utilization_fraction, constants)
    return Outcome(
        label=f"{row['model']} on {row['gpu']} tp{settings.tensor_parallel_size} pp{settings.pipeline_parallel_size}",
        kv_error_fraction=predicted_bytes / (_within(logged_kv_gib, total_gib, "kv_gib") * _GIB) - 1 if logged_kv_gib else None,
        weights_error_fraction=parts.weights_bytes / weights_bytes - 1,
    )


def _within(value_gib: float, total_gib: float, column: str) -> float:
    if value_gib > total_gib:
        raise ValueError(f"{column} is {value_gib:g}, the GPU has {total_gib:g} GiB")
    return value_gib


def settings_of(row: Mapping[str, str], architecture: Architecture, gpu: GpuType) -> EngineSettings:
    """The engine settings a row names; limits that it leaves open are those vLLM takes on that GPU."""
    sequences, tokens = usual_limits(gpu)
    length = optional_count(row, "max_model_len") or architecture.max_position
    return EngineSettings(
        engine_version=cell(row, "vllm_version").removeprefix("v"),
        dtype=_spelled(cell(row, "dtype").removeprefix("torch.")),
        quantization=_quantization(row, architecture),
        kv_cache_dtype=_spelled(cell(row, "kv_dtype")),
        tensor_parallel_size=optional_count(row, "tp") or 1,
        pipeline_parallel_size=optional_count(row, "pp") or 1,
        # Longer requests than the model's positions (VLLM_ALLOW_LONG_MAX_MODEL_LEN) change nothing that is compared here.
        max_model_len=min(length, architecture.max_position),
        max_num_seqs=optional_count(row, "max_num_seqs") or sequences,
        max_num_batched_tokens=optional_count(row, "max_num_batched_tokens") or tokens,
        enforce_eager=cell(row, "enforce_eager").lower() in ("true", "1"),
    )


def _spelled(dtype: str) -> str:
    """An element type as vLLM spells it."""
    return _DTYPES.get(dtype.lower(), dtype.lower())


def _quantization(row: Mapping[str, str], architecture: Architecture) -> str | None:
    """The weight format of a row: None for the checkpoint's own, which methods that cover several formats always mean."""
    name = cell(row, "quant").lower()
    if architecture.checkpoint_quant is not None or name in _ABSENT or name in _CONTAINERS:
        return None
    return _METHODS.get(name, name)


def _print(outcomes: Sequence[Outcome], refused: Sequence[str], rows: bool) -> None:
    if rows:
        for item in outcomes:
            print(f"{_percent(item.kv_error_fraction)} KV  {_percent(item.weights_error_fraction)} weights  {item.label}")
    for reason, count in sorted(Counter(refused).items()):
        print(f"refused {count}: {reason}")
    kv_errors = [abs(item.kv_error_fraction) for item in outcomes if item.kv_error_fraction is not None]
    weights_errors = [abs(item.weights_error_fraction) for item in outcomes if item.weights_error_fraction is not None]
    figures = {
        "rows": len(outcomes) + len(refused),
        "refused": len(refused),
        "kv_mean_abs_error_fraction": round(fmean(kv_errors), 6) if kv_errors else None,
        "kv_max_abs_error_fraction": round(max(kv_errors), 6) if kv_errors else None,
        "weights_median_abs_error_fraction": round(median(weights_errors), 6) if weights_errors else None,
    }
    print(json.dumps(figures))


def _percent(fraction: float | None) -> str:
    return "      -" if fraction is None else f"{fraction:+7.2%}"


if __name__ == "__main__":
    sys.exit(main())
