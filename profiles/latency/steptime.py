"""How long one step of an engine takes.

    T = base + experts * (1 - miss^tokens) + per_token * tokens + per_sequence * requests + per_kv_token * cached tokens read
        + per_pair * attended pairs

The coefficients are the model's work (profiles.latency.work) over what the GPU's data sheet offers, times the fractions of it that engines
reach, which are fitted on measured rows (profiles.latency.fits; docs/latency.md states the errors). A mixture of experts reads the experts
that the step's tokens touch; a prompt pays for the pairs of tokens it attends to, quadratic in its length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from profiles.gpu_types import GpuType, MigProfile
from profiles.latency.fits import Coefficients, LatencyFit, Quantiles, fit_for
from profiles.latency.thread_share import reached_bandwidth_fraction
from profiles.latency.work import StepWork, kind, step_work
from profiles.models import Architecture
from profiles.precision import product_tflops
from profiles.settings import EngineSettings, UnsupportedError
from profiles.support import check_supported

# Seconds per layer that launching kernels one by one adds: the largest excess of splitwise-sim's A100 decode steps (an engine of 2023
# without CUDA graphs, TP 8, batch up to 32) over this model.
_EAGER_LAYER_S = 0.42e-3


@dataclass(frozen=True, slots=True)
class StepTime:
    """Step time of one engine alone on its GPUs, at the median.

    residual_quantiles are ascending (quantile, multiplier) pairs: how measured times spread around the model. provenance says where the
    numbers come from and how far they may be off. base_s leaves the routed experts out: a step that touches all of them takes expert_s
    more, and a token leaves an expert alone with expert_miss_fraction. per_pair_s is per pair of a computed prompt token and a token it
    attends to. frontend_s passes between client and engine before the first token and belongs to no step.
    """

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    residual_quantiles: Quantiles
    provenance: str
    per_sequence_s: float = 0.0
    per_pair_s: float = 0.0
    expert_s: float = 0.0
    expert_miss_fraction: float = 0.0
    frontend_s: float = 0.0

    def step_s(self, tokens: float, kv_tokens: float, sequences: float = 0.0, pairs: float = 0.0) -> float:
        """Seconds of a step that computes `tokens` (decode and prefill) and reads kv_tokens tokens of KV cache.

        sequences are the requests in it; pairs the pairs of tokens that its prompts attend to (profiles.latency.steptime.attended_pairs).
        """
        work_s = self.per_token_s * tokens + self.per_kv_token_s * kv_tokens + self.per_sequence_s * sequences + self.per_pair_s * pairs
        return self.touched_s(tokens) + work_s

    def touched_s(self, tokens: float) -> float:
        """base_s and the reading of the experts that this many tokens are expected to touch."""
        if not self.expert_s:
            return self.base_s
        return self.base_s + self.expert_s * (1.0 - math.pow(self.expert_miss_fraction, tokens))

    def slower(self, factor: float) -> StepTime:
        """The same engine with every step `factor` times as long."""
        return StepTime(
            base_s=self.base_s * factor,
            per_token_s=self.per_token_s * factor,
            per_kv_token_s=self.per_kv_token_s * factor,
            residual_quantiles=self.residual_quantiles,
            provenance=self.provenance,
            per_sequence_s=self.per_sequence_s * factor,
            per_pair_s=self.per_pair_s * factor,
            expert_s=self.expert_s * factor,
            expert_miss_fraction=self.expert_miss_fraction,
            frontend_s=self.frontend_s,
        )

    def quantile(self, probability: float) -> float:
        """Residual multiplier at a probability in [0, 1]: linear between the stated quantiles, constant beyond them, 1.0 without any."""
        return multiplier(self.residual_quantiles, probability)


def multiplier(quantiles: Quantiles, probability: float) -> float:
    """Value at a probability of (quantile, multiplier) pairs: linear between them, constant beyond, 1.0 without any."""
    if not quantiles:
        return 1.0
    if probability <= quantiles[0][0]:
        return quantiles[0][1]
    for (low, low_value), (high, high_value) in pairwise(quantiles):
        if probability <= high:
            return low_value + (high_value - low_value) * (probability - low) / (high - low)
    return quantiles[-1][1]


def attended_pairs(tokens: float, cached_tokens: float = 0.0) -> float:
    """Pairs of a prompt's chunk: each of its tokens attends to what is cached before it, to those before it in the chunk and to itself."""
    return tokens * (cached_tokens + (tokens + 1) / 2)


@dataclass(frozen=True, slots=True)
class _Rates:
    """What the device offers: bytes/s of memory, operations/s with these weights and with 16 bits, bytes/s to a peer."""

    memory_bytes_per_s: float
    flops_per_s: float
    plain_flops_per_s: float
    link_bytes_per_s: float


def step_time(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    mig: MigProfile | None = None,
    fit: LatencyFit | None = None,
    data_parallel_size: int = 1,
) -> StepTime:
    """Step time of a model on a GPU type, or on one MIG slice of it.

    fit None takes the shipped one of vLLM. data_parallel_size is that of profiles.latency.work.step_work. With pipeline stages, decodes
    are split over as many batches in flight as there are stages; a prompt passes all stages, one after the other.
    Raises UnsupportedError when vLLM cannot run the configuration, tensor parallelism over MIG slices included.
    """
    check_supported(architecture, gpu, settings)
    held = fit or fit_for()
    found = held.coefficients_for(gpu)
    work = step_work(architecture, settings, data_parallel_size)
    rates = _rates(architecture, gpu, settings, mig, found)
    stages = settings.pipeline_parallel_size
    kv_bytes_per_s = rates.memory_bytes_per_s * found.kv_bandwidth_fraction
    attention_flops_per_s = rates.plain_flops_per_s * found.attention_fraction
    weights_bytes_per_s = rates.memory_bytes_per_s * found.bandwidth_fraction
    experts = architecture.experts
    far = distance(architecture, gpu, settings, mig, held, data_parallel_size)
    return StepTime(
        base_s=_fixed_s(architecture, settings, work, found) + work.weights_bytes / weights_bytes_per_s,
        per_token_s=(
            (work.token_flops - work.expert_flops) / rates.flops_per_s
            + work.expert_flops / (rates.flops_per_s * found.expert_compute_fraction)
            + work.window_flops / attention_flops_per_s
            + work.reduced_bytes / (rates.link_bytes_per_s * found.link_fraction)
        ),
        per_kv_token_s=max(work.kv_bytes / kv_bytes_per_s, work.kv_flops / attention_flops_per_s) / stages,
        residual_quantiles=held.residuals_for(far, gpu).tpot_quantiles,
        provenance=provenance(held, far, gpu),
        per_sequence_s=(found.sequence_s + work.sequence_bytes / kv_bytes_per_s) / stages,
        per_pair_s=work.pair_flops / attention_flops_per_s,
        expert_s=work.expert_bytes / (weights_bytes_per_s * found.expert_bandwidth_fraction),
        # n tokens that each choose k of E experts evenly leave E (1 - k / E)^n untouched on average.
        expert_miss_fraction=(1 - experts.per_token / experts.count) ** data_parallel_size if experts else 0.0,
        frontend_s=found.frontend_s,
    )


def _fixed_s(architecture: Architecture, settings: EngineSettings, work: StepWork, found: Coefficients) -> float:
    """Seconds of a step that depend neither on the GPU nor on the batch."""
    seconds = found.fixed_s + found.layer_s * architecture.layers + found.all_reduce_s * work.all_reduces
    if architecture.experts is not None:
        seconds += found.expert_layer_s * architecture.experts.layers
    if settings.enforce_eager:
        seconds += _EAGER_LAYER_S * architecture.layers
    return seconds


def distance(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    mig: MigProfile | None,
    fit: LatencyFit,
    data_parallel_size: int = 1,
) -> str:
    """How far an engine is from those the fit saw: one of profiles.latency.fits.DISTANCES."""
    found = fit.distance(architecture.name, gpu, kind(architecture))
    if gpu.engine is not None or found == "roofline":
        return "roofline"
    # parts of what was measured, in another combination
    divided = mig is not None or settings.active_thread_percentage < 100 or settings.pipeline_parallel_size > 1 or data_parallel_size > 1
    return "other_kind" if divided else found


_MEANING = {
    "known": "this model on this GPU type",
    "other_model": "other models on this GPU type",
    "other_gpu": "other GPU types of this generation, scaled by the data sheets",
    "other_generation": "another generation of GPUs, or other models on other GPU types, scaled by the data sheets",
    "other_kind": "other combinations of what was measured (kind of model, GPU generation, slices, pipelines), scaled by the data sheets",
    "roofline": "data sheets alone: nothing of this kind was measured",
}


def provenance(fit: LatencyFit, far: str, gpu: GpuType) -> str:
    """One line: what the prediction rests on and how far the middle 80 % of measurements are from it."""
    low, high = (multiplier(fit.residuals_for(far, gpu).tpot_quantiles, probability) for probability in (0.1, 0.9))
    kind_of_fit = "estimated from" if far == "roofline" else "fitted on"
    return f"{kind_of_fit} {_MEANING[far]} ({fit.engine}, {fit.rows} rows; p10 - p90 of step times {low:.2f} - {high:.2f})"


def _rates(architecture: Architecture, gpu: GpuType, settings: EngineSettings, mig: MigProfile | None, found: Coefficients) -> _Rates:
    compute_fraction = settings.active_thread_percentage / 100
    memory_fraction = reached_bandwidth_fraction(compute_fraction)
    if compute_fraction < 1 and (mig is not None or settings.tensor_parallel_size > 1):
        raise UnsupportedError(f"{architecture.name}: MPS is planned on one whole GPU, without MIG and with tensor_parallel_size 1")
    if mig is not None:
        if settings.tensor_parallel_size > 1:
            raise UnsupportedError(f"{architecture.name}: MIG slices have no links, tensor_parallel_size must be 1 on {mig.name}")
        # Slices get their share of the memory controllers (NVIDIA MIG user guide) and of the SMs, by SM count where it is known.
        memory_fraction = mig.memory_slices / gpu.mig_memory_slices
        compute_fraction = mig.compute_slices / gpu.mig_compute_slices
        if mig.sm_count is not None and gpu.sm_count is not None:
            compute_fraction = mig.sm_count / gpu.sm_count
    peak_tflops = product_tflops(architecture, gpu, settings)
    reached_fraction = found.compute_fraction * (found.fp8_compute_fraction if peak_tflops > gpu.bf16_tflops else 1.0)
    # Without a peer-to-peer link all-reduces go over PCIe.
    link_gb_per_s = gpu.link_gb_per_s if gpu.link_gb_per_s is not None else gpu.pcie_gb_per_s
    return _Rates(
        memory_bytes_per_s=gpu.memory_bandwidth_gb_per_s * 1e9 * memory_fraction,
        flops_per_s=peak_tflops * 1e12 * reached_fraction * compute_fraction,
        plain_flops_per_s=gpu.bf16_tflops * 1e12 * compute_fraction,
        link_bytes_per_s=link_gb_per_s * 1e9,
    )
