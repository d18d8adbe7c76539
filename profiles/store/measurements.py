"""What was measured (or fitted, or estimated) of engines on GPUs: points with provenance, and the rule that picks among conflicting ones.

Names of models and GPU types are the catalogue's own where it knows them (profiles.store.canonical). Every point refuses values that no
engine shows, above all times in the wrong unit, with MeasurementError naming the field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Literal, TypeVar

from profiles.store.plausible import (
    LITTLE_BOUNDS_FRACTION,
    REQUEST_BOUNDS_S,
    SLOWDOWN_BOUNDS,
    TPOT_BOUNDS_S,
    TTFT_BOUNDS_S,
    MeasurementError,
    count,
    named,
    one_of,
    positive,
    within,
)
from profiles.store.versions import version_key

Kind = Literal["measured", "fitted", "estimated"]
Statistic = Literal["mean", "median"]
Phase = Literal["prefill", "decode", "mixed"]
PairSharing = Literal["time_shared", "mps"]

# The best comes first.
KINDS: tuple[Kind, ...] = ("measured", "fitted", "estimated")
STATISTICS: tuple[Statistic, ...] = ("mean", "median")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where numbers come from. source names the tool or file, date is the day of the measurement (YYYY-MM-DD), None when not known."""

    kind: Kind
    source: str
    date: str | None = None
    engine: str = "vllm"
    engine_version: str | None = None

    def __post_init__(self) -> None:
        """Refuses unknown kinds, empty texts and dates that do not exist."""
        one_of("kind", self.kind, KINDS)
        named("source", self.source)
        named("engine", self.engine)
        if self.date is not None:
            try:
                valid = calendar_date.fromisoformat(self.date).isoformat() == self.date
            except ValueError:
                valid = False
            if not valid:
                raise MeasurementError("date", f"{self.date!r} is no date; write YYYY-MM-DD")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Times of one engine at one load.

    input_tokens and output_tokens are means per request, rounded. concurrency is the number of clients that each wait for their answer
    (closed loop), None when requests arrived at a rate. rate_rps is what was completed per second. ttft_s, tpot_s (after the first
    token) and request_s (arrival to last token) are statistics over requests. attention_data_parallel_size counts the groups that each
    attend to their own requests, expert_parallel_size the parts experts are divided into: both are 1 for a plain engine.
    """

    model: str
    gpu: str
    mig_profile: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    attention_data_parallel_size: int = 1
    expert_parallel_size: int = 1
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    input_tokens: int
    output_tokens: int
    concurrency: int | None = None
    rate_rps: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    request_s: float | None = None
    statistic: Statistic = "mean"
    requests: int | None = None
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuses what no engine shows."""
        _engine_checks(self)
        one_of("statistic", self.statistic, STATISTICS)
        for field in ("attention_data_parallel_size", "expert_parallel_size", "input_tokens", "output_tokens", "concurrency", "requests"):
            count(field, getattr(self, field))
        within("ttft_s", self.ttft_s, TTFT_BOUNDS_S, "s")
        within("tpot_s", self.tpot_s, TPOT_BOUNDS_S, "s")
        within("request_s", self.request_s, REQUEST_BOUNDS_S, "s")
        positive("rate_rps", self.rate_rps)
        if self.ttft_s is None and self.tpot_s is None and self.request_s is None and self.rate_rps is None:
            raise MeasurementError("ttft_s", "the point has neither ttft_s nor tpot_s, request_s or rate_rps: nothing was measured")
        self._check_little()

    @property
    def in_engine_s(self) -> float | None:
        """Seconds a request spends in the engine: request_s, else TTFT and the further tokens; None when either is unknown."""
        if self.request_s is not None:
            return self.request_s
        if self.ttft_s is None or self.tpot_s is None:
            return None
        return self.ttft_s + (self.output_tokens - 1) * self.tpot_s

    def _check_little(self) -> None:
        if self.concurrency is None or self.rate_rps is None or self.in_engine_s is None:
            return
        present = self.rate_rps * self.in_engine_s
        low, high = LITTLE_BOUNDS_FRACTION
        if not low * self.concurrency <= present <= high * self.concurrency:
            raise MeasurementError(
                "rate_rps",
                f"{self.rate_rps:g} requests/s that take {self.in_engine_s:g} s each are {present:.3g} at a time, but concurrency is "
                f"{self.concurrency}; is a time in another unit?",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPoint:
    """What one engine start logged: memory per GPU (of rank 0) and times. None: not logged.

    kv_bytes, kv_tokens and kv_blocks are the KV pool; max_concurrency is how many requests of max_model_len it holds.
    init_free_mib is what the GPU had free before loading, gpu_memory_utilization_fraction the engine's budget.
    """

    model: str
    gpu: str
    mig_profile: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool | None = None
    block_size: int | None = None
    gpu_memory_utilization_fraction: float | None = None
    gpu_total_mib: float | None = None
    init_free_mib: float | None = None
    weights_mib: float | None = None
    activation_mib: float | None = None
    non_torch_mib: float | None = None
    cuda_graphs_mib: float | None = None
    kv_bytes: int | None = None
    kv_tokens: int | None = None
    kv_blocks: int | None = None
    max_concurrency: float | None = None
    load_s: float | None = None
    compile_s: float | None = None
    graphs_s: float | None = None
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuses negative memory and times, and starts that logged nothing."""
        _engine_checks(self)
        for field in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size", "kv_bytes", "kv_tokens", "kv_blocks"):
            count(field, getattr(self, field))
        for field in ("gpu_total_mib", "init_free_mib", "weights_mib", "max_concurrency"):
            positive(field, getattr(self, field))
        for field in ("activation_mib", "non_torch_mib", "cuda_graphs_mib"):
            within(field, getattr(self, field), (0.0, float(1 << 30)), "MiB")
        # a start of more than a day is none
        for field in ("load_s", "compile_s", "graphs_s"):
            within(field, getattr(self, field), (0.0, 86_400.0), "s")
        within("gpu_memory_utilization_fraction", self.gpu_memory_utilization_fraction, (1e-6, 1.0), "of the GPU")
        if all(getattr(self, field) is None for field in START_VALUES):
            raise MeasurementError("weights_mib", f"the start has none of {', '.join(START_VALUES)}: nothing was measured")


# The fields of a StartPoint that are measured; the others describe what was started.
START_VALUES = (
    "weights_mib",
    "activation_mib",
    "non_torch_mib",
    "cuda_graphs_mib",
    "kv_bytes",
    "kv_tokens",
    "kv_blocks",
    "max_concurrency",
    "load_s",
    "compile_s",
    "graphs_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSide:
    """One of two engines measured together, its load, and its slowdown: time together over time alone, median and p90 over requests.

    active_thread_fraction is the share of SMs that MPS allowed it, None without a limit.
    """

    model: str
    phase: Phase
    concurrency: int
    input_tokens: int
    output_tokens: int
    slowdown: float
    slowdown_p90: float | None = None
    active_thread_fraction: float | None = None

    def __post_init__(self) -> None:
        """Refuses slowdowns no neighbour causes."""
        named("model", self.model)
        one_of("phase", self.phase, ("prefill", "decode", "mixed"))
        for field in ("concurrency", "input_tokens", "output_tokens"):
            count(field, getattr(self, field))
        within("slowdown", self.slowdown, SLOWDOWN_BOUNDS, "times the time alone")
        within("slowdown_p90", self.slowdown_p90, (self.slowdown, SLOWDOWN_BOUNDS[1]), "times the time alone")
        within("active_thread_fraction", self.active_thread_fraction, (0.01, 1.0), "of the SMs")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPoint:
    """Two engines measured alone and together on one GPU; which one is first has no meaning."""

    first: PairSide
    second: PairSide
    gpu: str
    sharing: PairSharing
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuses unknown ways of sharing."""
        named("gpu", self.gpu)
        one_of("sharing", self.sharing, ("time_shared", "mps"))

    def seen_from(self, model: str) -> PairPoint:
        """The same measurement with that model first, when it is one of the two."""
        if self.first.model == model or self.second.model != model:
            return self
        return PairPoint(first=self.second, second=self.first, gpu=self.gpu, sharing=self.sharing, provenance=self.provenance)


Point = TypeVar("Point", LatencyPoint, StartPoint, PairPoint)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a store holds, conflicting points included; the order has no meaning. `preferred` picks among points of one question."""

    latency: tuple[LatencyPoint, ...] = ()
    starts: tuple[StartPoint, ...] = ()
    pairs: tuple[PairPoint, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any point."""
        return bool(self.latency or self.starts or self.pairs)

    def __add__(self, other: Measurements) -> Measurements:
        """Both, each equal point once."""
        return Measurements(
            latency=tuple(dict.fromkeys((*self.latency, *other.latency))),
            starts=tuple(dict.fromkeys((*self.starts, *other.starts))),
            pairs=tuple(dict.fromkeys((*self.pairs, *other.pairs))),
        )

    def latency_of(
        self, model: str, gpu: str, mig_profile: str | None, tensor_parallel_size: int, engine: str = "vllm"
    ) -> tuple[LatencyPoint, ...]:
        """Points of a model on a GPU (or MIG slice) with one plain engine of that tensor-parallel size, at any load and precision."""
        return tuple(
            point
            for point in self.latency
            if (point.model, point.gpu, point.mig_profile, point.tensor_parallel_size) == (model, gpu, mig_profile, tensor_parallel_size)
            and (point.pipeline_parallel_size, point.attention_data_parallel_size, point.expert_parallel_size) == (1, 1, 1)
            and point.provenance.engine == engine
        )

    def pairs_of(self, model: str, neighbour: str, gpu: str, sharing: PairSharing) -> tuple[PairPoint, ...]:
        """Measurements of the two models together on a GPU type, with `model` as the first."""
        wanted = tuple(sorted((model, neighbour)))
        return tuple(
            point.seen_from(model)
            for point in self.pairs
            if tuple(sorted((point.first.model, point.second.model))) == wanted and (point.gpu, point.sharing) == (gpu, sharing)
        )


def preferred(points: Iterable[Point], engine_version: str | None = None) -> Point | None:
    """The point to believe among those that answer the same question; None when there is none.

    Measured before fitted before estimated; then the asked engine version before any other; then the newest engine version; then the newest
    date (a date before none); then by source and content, so that the answer never depends on the order of files.
    """
    return max(points, key=lambda point: (*_rank(point.provenance, engine_version), repr(point)), default=None)


def _rank(provenance: Provenance, engine_version: str | None) -> tuple[object, ...]:
    same = engine_version is not None and provenance.engine_version == engine_version
    kind = -KINDS.index(provenance.kind)
    return (kind, same, version_key(provenance.engine_version), provenance.date or "", provenance.source)


def _engine_checks(point: LatencyPoint | StartPoint) -> None:
    for field in ("model", "gpu", "kv_cache_dtype"):
        named(field, getattr(point, field))
    for field in ("tensor_parallel_size", "pipeline_parallel_size"):
        count(field, getattr(point, field))
