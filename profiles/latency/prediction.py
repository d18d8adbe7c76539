"""What to expect of an engine: from what was measured of it, else of its relatives, else from the fit, each with a band and its provenance.

The order: a point measured at this very load; points of the same engine at other loads; points of engines of the same kind of model on any
GPU type, carried over by the data sheets; the shipped fit, whose band widens with the distance from what it saw (profiles.latency.fits).
Points correct the fit by two factors, of the part of a step that does not grow with the load and of the part that does, and narrow its
band; few points pull little (a Bayesian regression with two unknowns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from profiles.catalogue import UnknownNameError, builtin
from profiles.gpu_types import GpuType, MigProfile
from profiles.latency.closed_loop import ClosedLoop, ClosedLoopLatency, closed_loop_latency
from profiles.latency.fits import LatencyFit, Quantiles, fit_for
from profiles.latency.linear import solve
from profiles.latency.speculative import speculative_step
from profiles.latency.steptime import StepTime, distance, multiplier, step_time
from profiles.latency.work import kind, step_work
from profiles.memory.engine_constants import constants_for
from profiles.memory.kv import has_cache, kv_pool_tokens
from profiles.memory.ledger import kv_pool_bytes, memory_parts
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError
from profiles.speculation import draft_settings
from profiles.store.measurements import LatencyPoint, Measurements, preferred

_NOTHING = Measurements()
# vLLM's default of --gpu-memory-utilization (0.92 in 0.32; 0.90 before): the pool of an engine whose own is not told.
_GPU_MEMORY_UTILIZATION = 0.9
# Spread of the logarithm of a repeated measurement: TPOT of one configuration repeats within 1 - 3 %, TTFT within 5 - 15 %.
_TPOT_NOISE = 0.04
_TTFT_NOISE = 0.15
# Of engines of one kind about the data sheets' ratios: rows of a model left out of the fit are spread by this around their common factor.
_RELATIVE_NOISE = 0.10
# Lengths that differ by less count as the same load.
_SAME_LENGTH_FRACTION = 0.05
# Standard normal score of p90.
_Z90 = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class Band:
    """Seconds at the 10th, 50th and 90th percentile of the prediction's error."""

    p10_s: float
    p50_s: float
    p90_s: float

    def holds(self, value_s: float) -> bool:
        """Whether a measurement lies within it."""
        return self.p10_s <= value_s <= self.p90_s


@dataclass(frozen=True, slots=True)
class LatencyPrediction:
    """Mean TTFT and TPOT under a closed loop, and what they rest on."""

    ttft: Band
    tpot: Band
    provenance: str


@dataclass(frozen=True, slots=True)
class PredictedEngine:
    """What is predicted: a model on a GPU type or a MIG slice of it, with its settings."""

    architecture: Architecture
    gpu: GpuType
    settings: EngineSettings
    mig: MigProfile | None = None
    data_parallel_size: int = 1

    def step(self, fit: LatencyFit) -> StepTime:
        """Its step time by the fit alone."""
        return step_time(self.architecture, self.gpu, self.settings, self.mig, fit, self.data_parallel_size)

    def latency(self, step: StepTime, fit: LatencyFit, load: ClosedLoop, kv_tokens: float) -> ClosedLoopLatency:
        """Means under a load; each data-parallel rank has its part of the clients."""
        share = load
        if self.data_parallel_size > 1:
            share = replace(load, concurrency=max(load.concurrency / self.data_parallel_size, 1.0))
        longest_tokens = load.input_tokens + load.output_tokens / 2
        most = min(float(self.settings.max_num_seqs), max(kv_tokens / longest_tokens, 1.0))
        return closed_loop_latency(step, share, fit.coefficients_for(self.gpu), self.settings.max_num_batched_tokens, most)

    def kv_tokens(self) -> float:
        """Tokens of one rank's KV pool at vLLM's default utilisation; one request of max_model_len at least, no limit without pool."""
        parts = memory_parts(self.architecture, self.gpu, self.settings)
        memory_mib = self.gpu.memory_usable_mib if self.mig is None else self.mig.memory_mib
        constants = constants_for(self.settings.engine_version)
        pool_bytes = kv_pool_bytes(parts, float(memory_mib << 20), _GPU_MEMORY_UTILIZATION, constants)
        if self.data_parallel_size > 1:
            # the memory model counts all experts on every rank
            pool_bytes += step_work(self.architecture, self.settings, self.data_parallel_size).expert_bytes * (self.data_parallel_size - 1)
        if not has_cache(self.architecture):
            return math.inf
        tokens = kv_pool_tokens(self.architecture, self.settings, max(int(pool_bytes), 0))
        return float(max(tokens, self.settings.max_model_len))


def predict(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    mig: MigProfile | None = None,
    measurements: Measurements = _NOTHING,
) -> StepTime:
    """Step time of an engine, with the band and provenance of what it rests on; UnsupportedError when vLLM cannot run it."""
    if architecture.speculation is not None:
        plain = predict(replace(architecture, speculation=None), gpu, settings, mig, measurements)
        draft = architecture.draft
        drafted = predict(draft, gpu, draft_settings(draft, settings), mig, measurements) if draft else None
        return speculative_step(plain, drafted, architecture.speculation.tokens)
    engine, fit = PredictedEngine(architecture, gpu, settings, mig), fit_for()
    if not measurements.latency:
        return engine.step(fit)
    return _corrected(engine, fit, measurements)


def predict_latency(
    engine: PredictedEngine,
    load: ClosedLoop,
    measurements: Measurements = _NOTHING,
    fit: LatencyFit | None = None,
    kv_tokens: float | None = None,
) -> LatencyPrediction:
    """Mean TTFT and TPOT with `load.concurrency` clients; UnsupportedError as above.

    fit None takes vLLM's; kv_tokens None takes the pool at vLLM's default utilisation of the memory.
    """
    held = fit or fit_for()
    own = _own_points(engine, measurements) if _has_all_threads(engine) else []
    point = preferred(point for point in own if _same_load(point, load))
    if point is not None and point.ttft_s is not None and point.tpot_s is not None:
        source = f"measured at this load ({point.provenance.source}{f', {point.provenance.date}' if point.provenance.date else ''})"
        return LatencyPrediction(_noise_band(point.ttft_s, _TTFT_NOISE), _noise_band(point.tpot_s, _TPOT_NOISE), source)
    step = _corrected(engine, held, measurements) if measurements.latency else engine.step(held)
    found = engine.latency(step, held, load, engine.kv_tokens() if kv_tokens is None else kv_tokens)
    far = distance(engine.architecture, engine.gpu, engine.settings, engine.mig, held, engine.data_parallel_size)
    ttft_quantiles = held.residuals_for(far, engine.gpu).ttft_quantiles
    return LatencyPrediction(_band(found.ttft_s, ttft_quantiles), _band(found.tpot_s, step.residual_quantiles), step.provenance)


def _band(middle_s: float, quantiles: Quantiles) -> Band:
    low, middle, high = (middle_s * multiplier(quantiles, probability) for probability in (0.1, 0.5, 0.9))
    return Band(low, middle, high)


def _noise_band(measured_s: float, noise: float) -> Band:
    spread = math.exp(_Z90 * noise)
    return Band(measured_s / spread, measured_s, measured_s * spread)


def _same_load(point: LatencyPoint, load: ClosedLoop) -> bool:
    lengths = ((point.input_tokens, load.input_tokens), (point.output_tokens, load.output_tokens))
    return point.concurrency == load.concurrency and all(
        abs(measured - asked) <= _SAME_LENGTH_FRACTION * asked for measured, asked in lengths
    )


def _own_points(engine: PredictedEngine, measurements: Measurements) -> list[LatencyPoint]:
    """Points of this very engine: same precision, one plain vLLM."""
    mig_profile = engine.mig.name if engine.mig else None
    size = engine.settings.tensor_parallel_size
    points = measurements.latency_of(engine.architecture.name, engine.gpu.name, mig_profile, size)
    own = engine.architecture.checkpoint_quant
    asked = (engine.settings.quantization or own, engine.settings.kv_cache_dtype)
    return [point for point in points if (point.quantization or own, point.kv_cache_dtype) == asked]


def _has_all_threads(engine: PredictedEngine) -> bool:
    """Whether it has its whole GPU, as all engines had that points are of."""
    return engine.settings.active_thread_percentage == 100


@dataclass(frozen=True, slots=True)
class _Evidence:
    """One point against the fit: share of its predicted step that does not grow with the load, log of measured over predicted."""

    fixed_fraction: float
    log_ratio: float


def _corrected(engine: PredictedEngine, fit: LatencyFit, measurements: Measurements) -> StepTime:
    """The fit's step time, corrected by the nearest points there are."""
    step = engine.step(fit)
    own = _one_per_load(_own_points(engine, measurements))
    evidence = [found for point in own if (found := _evidence(engine, fit, point)) is not None]
    if evidence:
        corrected = _with(step, evidence, _TPOT_NOISE, f"measured on this engine at {len(evidence)} loads")
        return _with_frontend(engine, fit, corrected, own) if _has_all_threads(engine) else corrected
    related = [item for point in _one_per_load(measurements.latency) if (item := _relative_evidence(engine, fit, point)) is not None]
    if related:
        return _with(
            step, related, _RELATIVE_NOISE, f"measured on {len(related)} points of the same kind of model, scaled by the data sheets"
        )
    return step


def _one_per_load(points: Sequence[LatencyPoint]) -> list[LatencyPoint]:
    """Of points that answer the same question the preferred one, in a fixed order."""
    groups: dict[tuple[object, ...], list[LatencyPoint]] = {}
    for point in points:
        engine = (point.model, point.gpu, point.mig_profile, point.tensor_parallel_size, point.quantization, point.kv_cache_dtype)
        groups.setdefault((*engine, point.input_tokens, point.output_tokens, point.concurrency, point.rate_rps), []).append(point)
    chosen = [preferred(group) for _, group in sorted(groups.items(), key=lambda item: repr(item[0]))]
    return [point for point in chosen if point is not None]


def _load_of(point: LatencyPoint) -> ClosedLoop | None:
    """The closed loop a point was measured under; one that came at a rate had rate times duration requests in the engine (Little)."""
    present = point.concurrency
    if present is None and point.rate_rps is not None and point.in_engine_s is not None:
        return ClosedLoop(point.input_tokens, point.output_tokens, max(point.rate_rps * point.in_engine_s, 1.0), constant_lengths=False)
    return None if present is None else ClosedLoop(point.input_tokens, point.output_tokens, present)


def _evidence(engine: PredictedEngine, fit: LatencyFit, point: LatencyPoint) -> _Evidence | None:
    """None for a point without TPOT or load, or one whose requests waited for KV cache."""
    load = _load_of(point)
    if load is None or point.tpot_s is None:
        return None
    needed = math.ceil(load.input_tokens + load.output_tokens)
    limits = replace(
        engine.settings,
        max_model_len=min(max(engine.settings.max_model_len, needed), engine.architecture.max_position),
        max_num_seqs=max(engine.settings.max_num_seqs, min(math.ceil(load.concurrency), engine.settings.max_num_batched_tokens)),
        # points are of engines that have all threads of their GPU
        active_thread_percentage=100,
    )
    asked = replace(engine, settings=limits)
    step = asked.step(fit)
    found = asked.latency(step, fit, load, asked.kv_tokens())
    if found.running_requests < 0.99 * load.concurrency:
        return None
    fixed_fraction = min(step.touched_s(found.running_requests) / found.tpot_s, 1.0)
    return _Evidence(fixed_fraction, math.log(point.tpot_s / (found.tpot_s * step.quantile(0.5))))


def _relative_evidence(engine: PredictedEngine, fit: LatencyFit, point: LatencyPoint) -> _Evidence | None:
    """Evidence of a point of another engine; None unless it is plain vLLM with a model of the same kind that the catalogue knows."""
    plain = (point.pipeline_parallel_size, point.attention_data_parallel_size, point.expert_parallel_size) == (1, 1, 1)
    if not plain or point.provenance.engine != fit.engine:
        return None
    try:
        architecture = engine.architecture if point.model == engine.architecture.name else builtin().model(point.model)
        gpu = engine.gpu if point.gpu == engine.gpu.name else builtin().gpu(point.gpu)
        if kind(architecture) != kind(engine.architecture):
            return None
        settings = replace(
            engine.settings,
            dtype="auto",
            quantization=point.quantization,
            kv_cache_dtype=point.kv_cache_dtype,
            tensor_parallel_size=point.tensor_parallel_size,
            max_model_len=min(engine.settings.max_model_len, architecture.max_position),
        )
        mig = gpu.mig_profile(point.mig_profile) if point.mig_profile else None
        return _evidence(PredictedEngine(architecture, gpu, settings, mig), fit, point)
    except (UnknownNameError, UnsupportedError):
        return None


def _with(step: StepTime, evidence: Sequence[_Evidence], noise: float, rests_on: str) -> StepTime:
    """The step time under the two most likely factors, its band as narrow as the evidence makes it."""
    spread = max(math.log(step.quantile(0.9) / step.quantile(0.1)) / 2 / _Z90, noise)
    matrix = [[1 / spread**2, 0.0], [0.0, 1 / spread**2]]
    right = [0.0, 0.0]
    for item in evidence:
        parts = (item.fixed_fraction, 1 - item.fixed_fraction)
        for i in range(2):
            right[i] += parts[i] * item.log_ratio / noise**2
            for j in range(2):
                matrix[i][j] += parts[i] * parts[j] / noise**2
    fixed, growing = (math.exp(found) for found in solve(matrix, right))
    # the factors' remaining uncertainty for a step half of which grows with the load
    left = sum(0.25 * sum(solve(matrix, unit)) for unit in ([1.0, 0.0], [0.0, 1.0]))
    narrowing = min(math.sqrt(left + noise**2) / math.sqrt(spread**2 / 2 + noise**2), 1.0)
    middle = step.quantile(0.5)
    quantiles = tuple((probability, (value / middle) ** narrowing) for probability, value in step.residual_quantiles)
    low, high = multiplier(quantiles, 0.1), multiplier(quantiles, 0.9)
    return replace(
        step,
        base_s=step.base_s * fixed * middle,
        expert_s=step.expert_s * fixed * middle,
        per_token_s=step.per_token_s * growing * middle,
        per_kv_token_s=step.per_kv_token_s * growing * middle,
        per_sequence_s=step.per_sequence_s * growing * middle,
        per_pair_s=step.per_pair_s * growing * middle,
        residual_quantiles=quantiles,
        provenance=f"{rests_on}; p10 - p90 of step times {low:.2f} - {high:.2f}",
    )


def _with_frontend(engine: PredictedEngine, fit: LatencyFit, step: StepTime, points: Sequence[LatencyPoint]) -> StepTime:
    """With the time between client and engine that the quietest point shows."""
    timed = [
        (load.concurrency, point.ttft_s, load) for point in points if (load := _load_of(point)) is not None and point.ttft_s is not None
    ]
    if not timed:
        return step
    _, ttft_s, load = min(timed, key=lambda item: item[:2])
    found = engine.latency(step, fit, load, math.inf)
    return replace(step, frontend_s=max(step.frontend_s + ttft_s - found.ttft_s, 0.0))
