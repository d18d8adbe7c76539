"""vLLM start-up logs of every version since 0.6: memory by part, KV pool, times, and the root cause of a start that failed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from profiles.sources.engine_fields import engine_fields, provenance
from profiles.sources.reading import SourceRecord, text_of
from profiles.sources.source import Context, Opened, Source, SourceError
from profiles.sources.vllm_failures import Failure, root_cause
from profiles.store.measurements import START_VALUES, Measurements, StartPoint

_MIB_PER_GIB = 1024
_NUMBER = r"(-?[\d.]+)"
# Lines of other ranks than the first: newer logs tag workers with PP and TP, older ones with a rank; engines with DP.
_OTHER_RANK = re.compile(r"^\((?:Worker|VllmWorker|EngineCore)[^)]*(?:(?:TP|PP|DP|EP)[1-9]|rank=[1-9])|^\(VllmWorkerProcess\b")
_ENGINE = re.compile(r"Initializing an? (?:V\d )?LLM engine \(v([^\s)]+)\) with config: (.*)")
_BANNER = re.compile(r"(?:vLLM API server version|\bversion) (\d+\.\d+\S*)")
_ARGUMENTS = re.compile(r"non-default args: (\{.*\})")
_SNAPSHOT_TIME = re.compile(r"memory snapshot: .*\btimestamp=(\d{9,11})\.")

# The one line of memory in logs of 0.6.4 and 0.6.5 (vllm/worker/worker.py).
_PROFILING = r"Memory profiling results:"

# What a log says, by key; of several patterns the first that matches anywhere counts, of several lines the first.
_VALUES: Mapping[str, tuple[re.Pattern[str], ...]] = {
    key: tuple(re.compile(pattern) for pattern in patterns)
    for key, patterns in {
        "max_num_seqs": (r"Defaulting max_num_seqs to (\d+)",),
        "max_num_batched_tokens": (r"Defaulting max_num_batched_tokens to (\d+)", r"max_num_batched_tokens=(\d+)"),
        "gpu_memory_utilization": (
            rf"Requested memory: {_NUMBER} \(util\)",
            rf"gpu_memory_utilization \({_NUMBER}\)",
            rf"current --gpu-memory-utilization={_NUMBER} is equivalent",
            rf"increase --gpu-memory-utilization from {_NUMBER}",
            rf"{_PROFILING}.*\bgpu_memory_utilization={_NUMBER}",
        ),
        "gpu_total_gib": (
            rf"total_memory={_NUMBER}GiB",
            rf"total_gpu_memory \({_NUMBER}GiB\)",
            rf"{_PROFILING}.*\btotal_gpu_memory={_NUMBER}GiB",
        ),
        "init_free_gib": (rf"Initial free memory:? {_NUMBER} GiB", rf"memory snapshot: .*free_memory={_NUMBER}GiB"),
        "weights_gib": (
            rf"Model loading took {_NUMBER} Gi?B",
            rf"Loading model weights took {_NUMBER} GB",
            rf"model weights take {_NUMBER}GiB",
        ),
        "activation_gib": (
            rf"torch peak memory increase: {_NUMBER}GiB",
            rf"PyTorch activation peak memory takes {_NUMBER}GiB",
            rf"GiB for weight, {_NUMBER} GiB for peak activation",
        ),
        # 0.6.4 and 0.6.5: weights and activations together.
        "peak_torch_gib": (rf"{_PROFILING}.*\bpeak_torch_memory={_NUMBER}GiB",),
        # Since 0.32 at level INFO; the estimate of the graphs is in it where it counts.
        "activation_and_graphs_gib": (rf"\(weights \+ non-torch\), {_NUMBER} GiB for peak activation",),
        "graphs_estimate_gib": (rf"Estimated CUDA graph memory: {_NUMBER} GiB total",),
        "non_torch_gib": (
            rf"non-torch forward increase memory: {_NUMBER}GiB",
            rf"non_torch_memory takes {_NUMBER}GiB",
            rf"{_PROFILING}.*\bnon_torch_memory={_NUMBER}GiB",
        ),
        "consumed_gib": (rf"total consumed \(from mem_get_info\): {_NUMBER}GiB", rf"Actual usage is {_NUMBER} GiB for consumed memory"),
        "cuda_graphs_gib": (
            rf"CUDA graph pool memory: {_NUMBER} GiB \(actual\)",
            rf"Graph capturing finished in \d+ secs?, took {_NUMBER} GiB",
        ),
        "kv_gib": (
            rf"Available KV cache memory: {_NUMBER} GiB",
            rf"reserved for KV Cache is {_NUMBER}GiB",
            rf"reserved {_NUMBER} GiB memory for KV Cache",
            rf"{_PROFILING}.*\bkv_cache_size={_NUMBER}GiB",
        ),
        "kv_tokens": (r"\w+ KV cache size: ([\d,]+) tokens",),
        "kv_blocks": (r"num_gpu_blocks is: (\d+)", r"# (?:GPU|CUDA|cuda) blocks: (\d+)"),
        "max_concurrency": (rf"Maximum concurrency for [\d,]+ tokens per request: {_NUMBER}x",),
        "load_s": (rf"Model loading took [\d.]+ Gi?B(?: memory)? and {_NUMBER} seconds",),
        "compile_s": (rf"torch\.compile (?:took|takes) {_NUMBER} s in total",),
        "graphs_s": (r"Graph capturing finished in (\d+) secs?",),
    }.items()
}
# Keys of the engine's configuration line, whose values end at the next comma.
_CONFIG_KEYS = {
    "model": r"model='([^']+)'",
    "dtype": r"\bdtype=torch\.(\w+)",
    "max_model_len": r"max_seq_len=(\d+)",
    "tensor_parallel_size": r"tensor_parallel_size=(\d+)",
    "pipeline_parallel_size": r"pipeline_parallel_size=(\d+)",
    "quantization": r"\bquantization=(\w[\w-]*)",
    "kv_cache_dtype": r"kv_cache_dtype=(\w+)",
    "enforce_eager": r"enforce_eager=(True|False)",
}
_ARGUMENT_KEYS = (
    *("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "block_size", "model", "tensor_parallel_size"),
    "kv_cache_memory_bytes",
)
_MARKS = re.compile(r"non-default args: |LLM engine \(v|KV cache size: |Model loading took |model weights take |gpu_worker\.py:")


@dataclass(frozen=True, slots=True)
class StartLog:
    """What a log says under the keys above, and why the start failed (None: it did not, as far as the log goes)."""

    values: Mapping[str, object]
    failure: Failure | None


def recognises(opened: Opened) -> bool:
    """Whether it is a log of vLLM."""
    return opened.json is None and _MARKS.search(opened.text) is not None


def read_log(text: str) -> StartLog:
    """The values and the failure of a log's text; never raises."""
    lines = [line for line in text.splitlines() if not _OTHER_RANK.match(line)]
    values: dict[str, object] = dict(_arguments(lines))
    values.update(_configuration(lines))
    for key, patterns in _VALUES.items():
        found = next(_matches(lines, patterns), None)
        if found is not None:
            values[key] = found.replace(",", "")
    when = next(_matches(lines, (_SNAPSHOT_TIME,)), None)
    if when is not None:
        values["date"] = datetime.fromtimestamp(int(when), UTC).date().isoformat()
    failure = root_cause(text)
    # what ended an engine that had been ready says nothing about its start
    return StartLog(values, None if failure is None or failure.after_start else failure)


def _matches(lines: list[str], patterns: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    for pattern in patterns:
        for line in lines:
            found = pattern.search(line)
            if found is not None:
                yield found[1]


def _arguments(lines: list[str]) -> Iterator[tuple[str, object]]:
    written = next(_matches(lines, (_ARGUMENTS,)), None)
    try:
        arguments = ast.literal_eval(written) if written else {}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        # Some versions print objects that are no literals.
        return
    yield from ((key, arguments[key]) for key in _ARGUMENT_KEYS if key in arguments)


def _configuration(lines: list[str]) -> Iterator[tuple[str, object]]:
    banner = next(_matches(lines, (_BANNER,)), None)
    if banner is not None:
        yield "engine_version", banner.rstrip(".,")
    engine = next((found for found in map(_ENGINE.search, lines) if found), None)
    if engine is None:
        return
    yield "engine_version", engine[1]
    for key, pattern in _CONFIG_KEYS.items():
        found = re.search(pattern, engine[2])
        if found is not None and found[1] != "None":
            yield key, found[1]


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """The start as one StartPoint.

    SourceError when the log measured nothing: then it says why the start failed and what to do, or which lines are missing. The GPU type
    stands in no log: give it.
    """
    log = read_log(text_of(name, raw))
    if not any(key in log.values for key in ("weights_gib", "activation_gib", "kv_gib", "kv_tokens", "kv_blocks")):
        if log.failure is not None:
            raise SourceError(
                f"{name}: line {log.failure.line}: the start failed ({log.failure.cause.name}): {log.failure.text}; "
                f"{log.failure.cause.advice}"
            )
        raise SourceError(
            f"{name}: Model loading took, Available KV cache memory: none of these lines is there; is it a whole start-up log?"
        )
    return Measurements(starts=(start_point(name, log, context),))


def start_point(name: str, log: StartLog, context: Context) -> StartPoint:
    """The StartPoint of a log; SourceError as parse. Where the size of the pool was given, no budget made it."""
    record = SourceRecord(name, log.values)
    fields = engine_fields(record, context)
    date = record.optional_text("date")
    outcome = f" (the start failed: {log.failure.cause.name})" if log.failure else ""
    source = provenance(record, context, f"vllm log{outcome}", date=date)
    mib = {key: _mib(record, f"{key}_gib") for key in ("gpu_total", "init_free", "weights", "cuda_graphs")}
    eager = record.optional_text("enforce_eager")
    given_bytes, kv_gib = record.optional_count("kv_cache_memory_bytes"), record.optional_amount("kv_gib")
    return record.build(
        lambda: StartPoint(
            **fields,
            dtype=record.optional_text("dtype"),
            max_model_len=record.optional_count("max_model_len"),
            max_num_seqs=record.optional_count("max_num_seqs"),
            max_num_batched_tokens=record.optional_count("max_num_batched_tokens"),
            enforce_eager=None if eager is None else eager == "True",
            block_size=record.optional_count("block_size"),
            gpu_memory_utilization_fraction=None if given_bytes else record.optional_amount("gpu_memory_utilization"),
            gpu_total_mib=mib["gpu_total"],
            init_free_mib=mib["init_free"],
            weights_mib=mib["weights"],
            activation_mib=_activation_mib(record),
            non_torch_mib=_non_torch_mib(record),
            cuda_graphs_mib=mib["cuda_graphs"],
            kv_bytes=given_bytes or (round(kv_gib * _MIB_PER_GIB) << 20 if kv_gib else None),
            kv_tokens=record.optional_count("kv_tokens"),
            kv_blocks=record.optional_count("kv_blocks"),
            max_concurrency=record.optional_amount("max_concurrency"),
            load_s=record.optional_amount("load_s"),
            compile_s=record.optional_amount("compile_s"),
            graphs_s=record.optional_amount("graphs_s"),
            provenance=source,
        ),
        {name: name.replace("_mib", "_gib") for name in START_VALUES},
    )


def _mib(record: SourceRecord, key: str) -> float | None:
    found = record.optional_amount(key)
    return None if found is None else found * _MIB_PER_GIB


def _activation_mib(record: SourceRecord) -> float | None:
    """The activation peak; logs of 0.32 have it with the estimate of the graphs on top, those of 0.6.4 with the weights."""
    plain_mib, both_mib = _mib(record, "activation_gib"), _mib(record, "activation_and_graphs_gib")
    peak_mib, weights_mib = _mib(record, "peak_torch_gib"), _mib(record, "weights_gib")
    if plain_mib is None and peak_mib is not None and weights_mib is not None:
        return max(peak_mib - weights_mib, 0.0)
    if plain_mib is not None or both_mib is None:
        return plain_mib
    return max(both_mib - (_mib(record, "graphs_estimate_gib") or 0.0), 0.0)


def _non_torch_mib(record: SourceRecord) -> float | None:
    """What lies outside PyTorch's pool; since 0.32 the log has it together with the weights. Readings below 0 are noise around 0."""
    values = record.values
    if "non_torch_gib" in values:
        return max(float(str(values["non_torch_gib"])), 0.0) * _MIB_PER_GIB
    consumed_gib, weights_gib = record.optional_amount("consumed_gib"), record.optional_amount("weights_gib")
    return None if consumed_gib is None or weights_gib is None else max(consumed_gib - weights_gib, 0.0) * _MIB_PER_GIB


SOURCE = Source("vLLM start-up log (text, also gzip)", recognises, parse)
