"""Rows of aiconfigurator's table of measured serving, as observations the latency model can be judged by or fitted on.

The table mixes two load generators. Rows whose source_group names aic-gap come from one that sends requests of equal lengths; the others
from InferenceMAX, which draws both lengths evenly from 80 - 100 % of the stated ones (RANDOM_RANGE_RATIO 0.8 in its README), limits the
engine to as many sequences as there are clients, and runs vLLM with --gpu-memory-utilization 0.9 and 8192 batched tokens; so are all
rows taken. Rows with times that the GPU's data sheet does not allow are refused (benchmarks.latency_floor).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.latency_floor import impossible
from benchmarks.table import cell, number, optional_number, read_table
from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.fitting import Observation
from profiles.latency.prediction import PredictedEngine
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.versions import version_key
from profiles.support import check_supported

_NEEDED = ("backend", "model_path", "system", "isl", "osl", "ttft_ms", "tpot_ms", "tp_size")
# Engines with a shipped fit, in the order they are fitted in.
ENGINES = ("vllm", "sglang", "trtllm")
_SPREAD_LENGTH_FRACTION = 0.9
_BATCHED_TOKENS = 8192
_SERIES = ("backend", "backend_version", "model_path", "system", "source_group")
# vLLM's default on GPUs of at least 70 GiB (vllm/engine/arg_utils.py, 0.32).
_DEFAULT_SEQUENCES = 1024
# aiconfigurator's modes and InferenceMAX's precisions as weight formats; None is not quantised.
_FORMATS = {
    **dict.fromkeys(("bfloat16", "float16", "bf16", "fp16"), None),
    **dict.fromkeys(("fp8", "fp8_block", "fp8_static", "fp8_ootb"), "fp8"),
    **dict.fromkeys(("nvfp4", "fp4"), "nvfp4"),
    **dict.fromkeys(("mxfp4", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8"), "mxfp4"),
    **dict.fromkeys(("int4_wo", "int4", "w4afp8"), "int4"),
    **dict.fromkeys(("int8_wo", "int8", "sq"), "int8"),
}
_FOUR_BIT_FLOATS = ("nvfp4", "mxfp4")
# First vLLM that takes the width of the KV cache from NVIDIA's checkpoints, which ask for 8 bits (vllm-project/vllm PR 30785).
_KV_OF_CHECKPOINT_VERSION = (0, 14)


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be predicted. series names rows measured together: one engine version, model, GPU type and source."""

    engine: str
    observation: Observation
    series: str


@dataclass(frozen=True, slots=True)
class Refused:
    """One row that cannot, and why; impossible: its times are below what the data sheet allows."""

    engine: str
    reason: str
    series: str = ""
    impossible: bool = False


def read_rows(path: Path) -> Iterator[Row | Refused]:
    """The rows of a CSV, plain or compressed, in order; ValueError when it is no such table."""
    for line, row in enumerate(read_table(path, _NEEDED), start=2):
        engine = cell(row, "backend").lower() or "unknown"
        if engine not in ENGINES:
            yield Refused(engine, f"no latency fit for engine {engine!r}")
            continue
        series = " ".join(cell(row, column) for column in _SERIES)
        try:
            found = _observation(row, engine, line)
        except ValueError as error:
            yield Refused(engine, str(error), series)
            continue
        cause = impossible(found.engine, found.load, found.ttft_s, found.tpot_s)
        yield Row(engine, found, series) if cause is None else Refused(engine, f"{found.label}: {cause}", series, impossible=True)


def read_tables(paths: Sequence[Path]) -> Iterator[Row | Refused]:
    """The rows of several such CSVs, one after the other; labels tell the file."""
    for path in paths:
        for item in read_rows(path):
            if isinstance(item, Row):
                yield replace(item, observation=replace(item.observation, label=f"{path.name} {item.observation.label}"))
            else:
                yield item


def _observation(row: Mapping[str, str], backend: str, line: int) -> Observation:
    architecture, gpu = _served(row), builtin().gpu(row["system"])
    ranks, data_parallel_size = _sizes(row)
    load = _load(row, data_parallel_size)
    settings = EngineSettings(
        quantization=None if architecture.checkpoint_quant else _format(row, architecture),
        kv_cache_dtype=_kv_cache_dtype(row, backend, architecture),
        tensor_parallel_size=ranks,
        pipeline_parallel_size=_whole(row, "pp_size"),
        max_model_len=math.ceil(number(row, "isl") + number(row, "osl")),
        max_num_seqs=max(_DEFAULT_SEQUENCES if load.constant_lengths else 1, math.ceil(load.concurrency / data_parallel_size)),
        max_num_batched_tokens=_BATCHED_TOKENS,
    )
    check_supported(architecture, gpu, settings)
    engine = PredictedEngine(architecture, gpu, settings, data_parallel_size=data_parallel_size)
    return Observation(
        label=f"line {line}: {architecture.name} on {gpu.name} tp{ranks}",
        fold=_fold(architecture),
        engine=engine,
        load=load,
        kv_tokens=engine.kv_tokens(),
        ttft_s=number(row, "ttft_ms") / 1000,
        tpot_s=number(row, "tpot_ms") / 1000,
    )


def _load(row: Mapping[str, str], data_parallel_size: int) -> ClosedLoop:
    constant = "aic-gap" in cell(row, "source_group")
    length_fraction = 1.0 if constant else _SPREAD_LENGTH_FRACTION
    return ClosedLoop(
        input_tokens=max(1.0, number(row, "isl") * length_fraction),
        output_tokens=max(1.0, number(row, "osl") * length_fraction),
        concurrency=optional_number(row, "client_concurrency") or number(row, "batch_per_dp_rank") * data_parallel_size,
        constant_lengths=constant,
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


def _served(row: Mapping[str, str]) -> Architecture:
    """The checkpoint in the format the row states, which may be another one than the model was published in."""
    architecture = builtin().model(row["model_path"])
    own, stated = architecture.checkpoint_quant, _format(row, architecture)
    if own is None or own == stated:
        return architecture
    scope = None if stated is None else "linear" if architecture.experts is None else "experts"
    return replace(architecture, checkpoint_quant=stated, quant_scope=scope)


def _format(row: Mapping[str, str], architecture: Architecture) -> str | None:
    """Weight format of the experts, or of all products of a dense model; the checkpoint's own where none is stated."""
    column = "gemm_quant_mode" if architecture.experts is None else "moe_quant_mode"
    mode = (cell(row, column) or cell(row, "precision")).lower()
    own = architecture.checkpoint_quant
    if not mode:
        return own
    if mode not in _FORMATS:
        raise ValueError(f"number format {mode!r} is not known (known: {', '.join(sorted(_FORMATS))})")
    # the table calls both kinds of 4-bit floats fp4, and gpt-oss's MXFP4 nvfp4 too
    return own if own in _FOUR_BIT_FLOATS and mode in ("fp4", "nvfp4") else _FORMATS[mode]


def _kv_cache_dtype(row: Mapping[str, str], backend: str, architecture: Architecture) -> str:
    """8 bits with TensorRT-LLM's 8- and 4-bit checkpoints, where vLLM takes what NVIDIA's ask for, and where InferenceMAX asks for them.

    Its launch scripts do for Llama-70B on Hopper and Blackwell and for gpt-oss on Blackwell (70b_fp8_h200_slurm, 70b_fp4_b200_docker and
    gptoss_fp4_b200 of SemiAnalysisAI/InferenceX). Llama's rows on H100 wait for their cache as one of 16 bits makes them: they keep that.
    """
    if backend == "trtllm":
        return "fp8" if _format(row, architecture) in ("fp8", "nvfp4") else "auto"
    if backend == "vllm" and "aic-gap" not in cell(row, "source_group"):
        gpu = builtin().gpu(row["system"])
        dense = architecture.experts is None
        if gpu.compute_capability.startswith("10.") or (dense and gpu.name.startswith("H200")):
            return "fp8"
    asked = row["model_path"].lower().startswith("nvidia/") and architecture.checkpoint_quant in ("fp8", "nvfp4")
    recent = version_key(row.get("backend_version"))[0] >= _KV_OF_CHECKPOINT_VERSION
    return "fp8" if backend == "vllm" and asked and recent else "auto"


def _fold(architecture: Architecture) -> str:
    """One name for models that differ in weights or their format only: leaving out one of them leaves out all."""
    bare = replace(architecture, name="", aliases=(), source="", checkpoint_quant=None, quant_scope=None, max_position=0)
    return repr(bare)


def _whole(row: Mapping[str, str], column: str) -> int:
    """A size; missing or 0 (the table's "does not apply") is 1."""
    text = cell(row, column)
    try:
        value = float(text) if text else 1.0
    except ValueError:
        value = math.nan
    if not value.is_integer() or value < 0:
        raise ValueError(f"{column} is {text}, it must be a whole number")
    return max(int(value), 1)
