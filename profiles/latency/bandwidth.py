"""How much of a GPU's memory bandwidth an engine draws while it works: what neighbours under MPS must share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from profiles.gpu_types import GpuType
from profiles.latency.fits import fit_for
from profiles.latency.steptime import StepTime
from profiles.latency.work import step_work
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.speculation import draft_settings


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What a step computes: tokens of so many sequences, which read kv_tokens from the cache."""

    tokens: float
    sequences: float
    kv_tokens: float


def drawn_bandwidth_fraction(architecture: Architecture, gpu: GpuType, settings: EngineSettings, step: StepTime, batch: StepBatch) -> float:
    """The part of a GPU's memory bandwidth that an engine draws in such steps.

    The time that its bytes take at the rates that engines reach on the whole GPU, over the time of the step. step is the engine's own,
    with its part of the threads. A draft model reads its weights and its cache once for each token that it proposes.
    """
    read_s = _reading_s(replace(architecture, speculation=None), gpu, settings, step.expert_miss_fraction if step.expert_s else 1.0, batch)
    draft, speculation = architecture.draft, architecture.speculation
    if draft is not None and speculation is not None:
        read_s += speculation.tokens * _reading_s(draft, gpu, draft_settings(draft, settings), 0.0, batch)
    return min(1.0, read_s / step.step_s(batch.tokens, batch.kv_tokens, batch.sequences))


def _reading_s(architecture: Architecture, gpu: GpuType, settings: EngineSettings, miss_fraction: float, batch: StepBatch) -> float:
    """Seconds that weights and cache take, once, on the whole GPU; an expert is missed by a token with this part."""
    work, found = step_work(architecture, settings), fit_for().coefficients_for(gpu)
    touched: float = 1.0 - miss_fraction**batch.tokens
    bytes_per_s = gpu.memory_bandwidth_gb_per_s * 1e9
    weights_s = work.weights_bytes / (bytes_per_s * found.bandwidth_fraction)
    experts_s = touched * work.expert_bytes / (bytes_per_s * found.bandwidth_fraction * found.expert_bandwidth_fraction)
    cache_s = (work.kv_bytes * batch.kv_tokens + work.sequence_bytes * batch.sequences) / (bytes_per_s * found.kv_bandwidth_fraction)
    return weights_s + experts_s + cache_s
