"""What to expect of a model on a GPU, as a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.catalogue import builtin
from profiles.gpu_types import GpuType
from profiles.latency.prediction import Band, predict
from profiles.latency.steptime import StepTime, attended_pairs
from profiles.memory.ledger import memory_ledger
from profiles.memory.pool import least_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements

_NOTHING = Measurements()
# The band that estimates are given with.
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """One decode step of so many requests, each in the middle of its answer: time per output token while nothing else runs."""

    requests: int
    tpot: Band


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """Prefill of one prompt on an idle engine, and decode steps by batch. kind is always estimated; provenance says from what.

    A model that makes vectors or scores has no decode steps: output_tokens is 0, and the prefill is the time to the answer.

    does_not_fit says how much memory is missing per GPU where the engine could not hold one longest request; None: it could.
    """

    model: str
    gpu: str
    mig_profile: str | None
    tensor_parallel_size: int
    quantization: str | None
    kv_cache_dtype: str
    input_tokens: int
    output_tokens: int
    prefill: Band
    batches: tuple[BatchEstimate, ...]
    kind: str
    provenance: str
    does_not_fit: str | None


def estimate(
    model: str,
    gpu: str,
    mig_profile: str | None,
    settings: EngineSettings,
    input_tokens: int,
    output_tokens: int,
    batches: Sequence[int],
    measurements: Measurements = _NOTHING,
) -> LatencyEstimate:
    """Estimate of a catalogue model on a catalogue GPU; ValueError for unknown names, UnsupportedError for what vLLM cannot run.

    measurements correct it where they tell something of this engine or of its relatives; their names are the catalogue's.
    """
    architecture, device = builtin().model(model), builtin().gpu(gpu)
    mig = device.mig_profile(mig_profile) if mig_profile else None
    step = predict(architecture, device, settings, mig, measurements)
    context = input_tokens + output_tokens / 2
    return LatencyEstimate(
        model=architecture.name,
        gpu=device.name,
        mig_profile=mig_profile,
        tensor_parallel_size=settings.tensor_parallel_size,
        quantization=settings.quantization or architecture.checkpoint_quant,
        kv_cache_dtype=settings.kv_cache_dtype,
        input_tokens=input_tokens,
        output_tokens=0 if architecture.pooling else output_tokens,
        prefill=_band(step, _prefill_s(step, settings, input_tokens)),
        batches=tuple(
            BatchEstimate(size, _band(step, step.step_s(size, size * context, size))) for size in (() if architecture.pooling else batches)
        ),
        kind="estimated",
        provenance=step.provenance,
        does_not_fit=_missing(architecture, device, settings, mig.memory_mib if mig else device.memory_usable_mib),
    )


def _missing(architecture: Architecture, gpu: GpuType, settings: EngineSettings, memory_mib: int) -> str | None:
    needed_mib = memory_ledger(architecture, gpu, settings, least_kv_bytes(architecture, settings)).total_mib
    if needed_mib <= memory_mib:
        return None
    return f"the engine needs {needed_mib} MiB per GPU, there are {memory_mib} MiB; `ullage fit` has the ledger"


def _prefill_s(step: StepTime, settings: EngineSettings, input_tokens: int) -> float:
    """Chunks of max_num_batched_tokens, each reading and attending to what was cached before it."""
    budget = settings.max_num_batched_tokens
    chunks = [(cached, min(budget, input_tokens - cached)) for cached in range(0, input_tokens, budget)]
    return sum(step.step_s(chunk, cached, 1, attended_pairs(chunk, cached)) for cached, chunk in chunks)


def _band(step: StepTime, middle_s: float) -> Band:
    low, middle, high = (middle_s * step.quantile(quantile) for quantile in QUANTILES)
    return Band(low, middle, high)
