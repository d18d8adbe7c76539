"""Rows of aiconfigurator's table of measured serving, as observations the latency model can be judged by or fitted on.

The table mixes two load generators. Rows whose source_group names aic-gap come from one that sends requests of equal lengths; the others
from InferenceMAX, which draws both lengths evenly from 80 - 100 % of the stated ones (RANDOM_RANGE_RATIO 0.8 in its README), limits the
engine to as many sequences as there are clients, and runs vLLM with --gpu-memory-utilization 0.9 and 8192 batched tokens; so are all
rows taken.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.catalogue import builtin
from profiles.closed_loop import ClosedLoop
from profiles.fitting import Observation
from profiles.models import Architecture
from profiles.prediction import Engine
from profiles.settings import EngineSettings
from profiles.support import check_supported

# Engines with a shipped fit, in the order they are fitted in.
ENGINES = ("vllm", "sglang", "trtllm")
_SPREAD_LENGTH_FRACTION = 0.9
_BATCHED_TOKENS = 8192
# vLLM's default on GPUs of at least 70 GiB (vllm/engine/arg_utils.py, 0.32).
_DEFAULT_SEQUENCES = 1024
# aiconfigurator's GEMM modes as vLLM's --quantization; every other one is the checkpoint's own.
_QUANTIZATION = {"fp8": "fp8", "fp8_block": "fp8", "fp8_static": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4", "int8_wo": "int8"}
# Their TTFT is shorter than the prompt's own products take at peak: 4000 tokens behind 127 others in 0.11 s.
_SUSPECT = ("vllm", "0.12.0", "llama-3.1-8b-instruct-fp8", "h200_sxm")


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be predicted: its engine, the observation, and whether it is too good to be true."""

    engine: str
    observation: Observation
    suspect: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """One row that cannot, and why."""

    engine: str
    reason: str


def read_rows(path: Path) -> Iterator[Row | Refused]:
    """The rows of a CSV, plain or compressed, in order; ValueError when it is no such table."""
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    reader = csv.DictReader(io.StringIO(text))
    missing = {"backend", "model_path", "system", "isl", "osl", "ttft_ms", "tpot_ms", "tp_size"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: columns {', '.join(sorted(missing))} are missing")
    for line, row in enumerate(reader, start=2):
        engine = (row["backend"] or "").strip() or "unknown"
        if engine not in ENGINES:
            yield Refused(engine, f"no latency fit for engine {engine!r}")
            continue
        try:
            yield Row(engine, _observation(row, engine, line), _is_suspect(row))
        except ValueError as error:
            yield Refused(engine, str(error))


def _observation(row: Mapping[str, str], backend: str, line: int) -> Observation:
    architecture, gpu = builtin().model(row["model_path"]), builtin().gpu(row["system"])
    ranks, data_parallel_size = _sizes(row)
    concurrency = _optional(row, "client_concurrency") or _number(row, "batch_per_dp_rank") * data_parallel_size
    constant = "aic-gap" in (row.get("source_group") or "")
    length_fraction = 1.0 if constant else _SPREAD_LENGTH_FRACTION
    load = ClosedLoop(
        input_tokens=max(1.0, _number(row, "isl") * length_fraction),
        output_tokens=max(1.0, _number(row, "osl") * length_fraction),
        concurrency=concurrency,
        constant_lengths=constant,
    )
    settings = EngineSettings(
        quantization=_quantization(row, architecture),
        kv_cache_dtype=_kv_cache_dtype(row, backend),
        tensor_parallel_size=ranks,
        pipeline_parallel_size=_whole(row, "pp_size"),
        max_model_len=math.ceil(_number(row, "isl") + _number(row, "osl")),
        max_num_seqs=max(_DEFAULT_SEQUENCES if constant else 1, math.ceil(concurrency / data_parallel_size)),
        max_num_batched_tokens=_BATCHED_TOKENS,
    )
    check_supported(architecture, gpu, settings)
    engine = Engine(architecture, gpu, settings, data_parallel_size=data_parallel_size)
    return Observation(
        label=f"line {line}: {architecture.name} on {gpu.name} tp{ranks}",
        fold=_fold(architecture),
        engine=engine,
        load=load,
        kv_tokens=engine.kv_tokens(),
        ttft_s=_number(row, "ttft_ms") / 1000,
        tpot_s=_number(row, "tpot_ms") / 1000,
    )


def _sizes(row: Mapping[str, str]) -> tuple[int, int]:
    """Tensor-parallel ranks and data-parallel ranks of attention.

    Where both ways to divide experts are above one, the table multiplies them into the ranks and counts the same GPUs twice: such rows
    repeat others of the table that give the ranks of one node.
    """
    ranks, data_parallel_size = _whole(row, "tp_size"), _whole(row, "attention_dp_size")
    expert_ranks, expert_parallel_size = _whole(row, "moe_tp_size"), _whole(row, "moe_ep_size")
    if expert_ranks > 1 and expert_parallel_size > 1:
        if ranks % expert_ranks == 0:
            ranks //= expert_ranks
        elif data_parallel_size % expert_ranks == 0:
            data_parallel_size //= expert_ranks
    return ranks, data_parallel_size


def _quantization(row: Mapping[str, str], architecture: Architecture) -> str | None:
    if architecture.checkpoint_quant is not None:
        return None
    return _QUANTIZATION.get((row.get("gemm_quant_mode") or row.get("precision") or "").strip().lower())


def _kv_cache_dtype(row: Mapping[str, str], backend: str) -> str:
    """TensorRT-LLM's fp8 checkpoints bring an fp8 KV cache; vLLM and SGLang keep the dtype of the activations unless they are told."""
    return "fp8" if backend == "trtllm" and (row.get("gemm_quant_mode") or "").startswith("fp8") else "auto"


def _fold(architecture: Architecture) -> str:
    """One name for models that differ in weights or their format only: leaving out one of them leaves out all."""
    bare = replace(architecture, name="", aliases=(), source="", checkpoint_quant=None, quant_scope=None, max_position=0)
    return repr(bare)


def _is_suspect(row: Mapping[str, str]) -> bool:
    engine, version, model, system = _SUSPECT
    found = (row["backend"], row.get("backend_version") or "", row["system"])
    return found == (engine, version, system) and row["model_path"].lower().endswith(model)


def _number(row: Mapping[str, str], column: str) -> float:
    value = _optional(row, column)
    if value is None:
        raise ValueError(f"{column} is not given")
    return value


def _optional(row: Mapping[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{column} is {text}, it must be a finite number above 0")
    return value


def _whole(row: Mapping[str, str], column: str) -> int:
    """A size; missing or 0 (the table's "does not apply") is 1."""
    text = (row.get(column) or "").strip()
    value = float(text) if text else 1.0
    if not value.is_integer() or value < 0:
        raise ValueError(f"{column} is {text}, it must be a whole number")
    return max(int(value), 1)
