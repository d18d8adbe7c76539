"""How long one step of an engine takes: T = base + per_token * tokens in the step + per_kv_token * cached tokens read.

The three coefficients come from the GPU's data sheet and the model's dimensions, scaled by five constants fitted on 95 measured rows of
vLLM on H100 and H200 (Llama-3.1-70B fp8 and Qwen3-32B bfloat16, TP 1 - 8, 4 - 128 concurrent; aiconfigurator-core, Apache-2.0; the rows and
the check of the fit are in tests/profiles). Time per output token: mean error 7.4 %, median 4.7 %; fitted on one of the two models the
other is missed by 12 - 19 %. Unseen A100, Llama-2-70B prompts of 128 - 8192 tokens (splitwise-sim, MIT): within 13 % at TP 2; at TP 4 - 8
that engine of 2023, which launched kernels one by one, took 0.99 - 2.2 times as long. Mixture of experts, other GPUs, PCIe links and MIG
slices are extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from profiles.gpus import GpuType, MigProfile
from profiles.kv import kv_bytes_per_token
from profiles.memory import weight_bytes
from profiles.models import Architecture
from profiles.precision import dtype_bytes, product_tflops, weight_format
from profiles.settings import EngineSettings, UnsupportedError
from profiles.support import check_supported

# The five fitted constants (least squares of the relative error, all positive; KV cache counted as fp8 in the fp8 rows, without
# which the fit asks for more than the peak bandwidth).
# Seconds per step of scheduling, sampling and launch, with CUDA graphs.
_OVERHEAD_S = 0.00172
# Share of the data sheet's memory bandwidth that reading weights and KV cache reaches.
_BANDWIDTH_EFFICIENCY = 0.839
# Share of the data sheet's dense TFLOP/s that matrix products reach.
_COMPUTE_EFFICIENCY = 0.736
# Seconds per all-reduce, before its bytes.
_ALL_REDUCE_S = 21.5e-6
# Share of the link's one-way bandwidth that all-reduces reach.
_LINK_EFFICIENCY = 0.402

# Measured / predicted of those 95 rows by quantile.
_RESIDUAL_QUANTILES = ((0.01, 0.845), (0.05, 0.912), (0.1, 0.933), (0.5, 1.009), (0.9, 1.174), (0.95, 1.218), (0.99, 1.29))

# Seconds per layer that launching kernels one by one adds: the largest excess of splitwise-sim's A100 decode steps (an engine of 2023
# without CUDA graphs, TP 8, batch up to 32) over this model.
_EAGER_LAYER_S = 0.42e-3

_PROVENANCE = "estimated from data sheet; constants fitted on vLLM H100/H200 (95 rows, mean error 7.4 %, p99 measured/predicted 1.29)"


@dataclass(frozen=True, slots=True)
class StepTime:
    """Step time of one engine alone on its GPUs, at the median.

    residual_quantiles are ascending (quantile, multiplier) pairs: how measured times spread around the model. provenance says where the
    numbers come from and how far they may be off.
    """

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    residual_quantiles: tuple[tuple[float, float], ...]
    provenance: str

    def step_s(self, tokens: float, kv_tokens: float) -> float:
        """Seconds of a step that computes `tokens` (decode and prefill) and reads kv_tokens tokens of KV cache."""
        return self.base_s + self.per_token_s * tokens + self.per_kv_token_s * kv_tokens

    def quantile(self, probability: float) -> float:
        """Residual multiplier at a probability in [0, 1]: linear between the stated quantiles, constant beyond them, 1.0 without any."""
        points = self.residual_quantiles
        if not points:
            return 1.0
        if probability <= points[0][0]:
            return points[0][1]
        for (low, low_value), (high, high_value) in pairwise(points):
            if probability <= high:
                return low_value + (high_value - low_value) * (probability - low) / (high - low)
        return points[-1][1]


@dataclass(frozen=True, slots=True)
class _Rates:
    """What the device offers: bytes/s of memory, floating-point operations/s, bytes/s to a peer."""

    memory_bytes_per_s: float
    flops_per_s: float
    link_bytes_per_s: float


def step_time(architecture: Architecture, gpu: GpuType, settings: EngineSettings, mig: MigProfile | None = None) -> StepTime:
    """Step time of a model on a GPU type, or on one MIG slice of it.

    base: overhead, one read of the weights (of a mixture of experts: those that max_num_seqs tokens are expected to touch) and two
    all-reduces per layer. per_token: two operations per active parameter, attention over half of max_model_len (exact for a prompt of
    that length, too slow for shorter ones), all-reduce bytes. per_kv_token: one read of a token's KV cache.
    Raises UnsupportedError when vLLM cannot run the configuration, tensor parallelism over MIG slices included.
    """
    check_supported(architecture, gpu, settings)
    rates = _rates(architecture, gpu, settings, mig)
    size = settings.tensor_parallel_size
    all_reduces = 2 * architecture.layers if size > 1 else 0
    base_s = _OVERHEAD_S + _weight_bytes_read(architecture, settings) / rates.memory_bytes_per_s + all_reduces * _ALL_REDUCE_S
    if settings.enforce_eager:
        base_s += _EAGER_LAYER_S * architecture.layers
    # A ring all-reduce moves 2 (n - 1) / n of the data over each link (Patarasuk and Yuan, 2009).
    reduced_bytes = all_reduces * architecture.hidden * dtype_bytes(architecture, settings) * 2 * (size - 1) / size
    return StepTime(
        base_s=base_s,
        per_token_s=_flops_per_token(architecture, settings) / rates.flops_per_s + reduced_bytes / rates.link_bytes_per_s,
        per_kv_token_s=kv_bytes_per_token(architecture, settings) / rates.memory_bytes_per_s,
        residual_quantiles=_RESIDUAL_QUANTILES,
        provenance=_PROVENANCE,
    )


def _rates(architecture: Architecture, gpu: GpuType, settings: EngineSettings, mig: MigProfile | None) -> _Rates:
    compute_fraction = memory_fraction = 1.0
    if mig is not None:
        if settings.tensor_parallel_size > 1:
            raise UnsupportedError(f"{architecture.name}: MIG slices have no links, tensor_parallel_size must be 1 on {mig.name}")
        # Slices get their share of the memory controllers (NVIDIA MIG user guide) and of the SMs, by SM count where it is known.
        memory_fraction = mig.memory_slices / gpu.mig_memory_slices
        compute_fraction = mig.compute_slices / gpu.mig_compute_slices
        if mig.sm_count is not None and gpu.sm_count is not None:
            compute_fraction = mig.sm_count / gpu.sm_count
    # Without a peer-to-peer link all-reduces go over PCIe.
    link_gb_per_s = gpu.link_gb_per_s if gpu.link_gb_per_s is not None else gpu.pcie_gb_per_s
    return _Rates(
        memory_bytes_per_s=gpu.memory_bandwidth_gb_per_s * 1e9 * _BANDWIDTH_EFFICIENCY * memory_fraction,
        flops_per_s=product_tflops(architecture, gpu, settings) * 1e12 * _COMPUTE_EFFICIENCY * compute_fraction,
        link_bytes_per_s=link_gb_per_s * 1e9 * _LINK_EFFICIENCY,
    )


def _weight_bytes_read(architecture: Architecture, settings: EngineSettings) -> float:
    """Bytes per GPU of the weights that one step reads."""
    total_bytes = weight_bytes(architecture, settings)
    embedding = architecture.vocab * architecture.hidden * dtype_bytes(architecture, settings) / settings.tensor_parallel_size
    # Of a separate input embedding only the rows of the step's tokens are read.
    read_bytes = total_bytes - (0.0 if architecture.tie_embeddings else embedding)
    experts = architecture.experts
    if experts is None:
        return read_bytes
    form = weight_format(architecture, settings)
    parameter_bytes = form.bytes_per_parameter if form is not None else float(dtype_bytes(architecture, settings))
    # n tokens that each choose k of E experts evenly leave E (1 - k / E)^n untouched on average.
    untouched_fraction = math.pow(1 - experts.per_token / experts.count, settings.max_num_seqs)
    return read_bytes - architecture.expert_parameters * parameter_bytes / settings.tensor_parallel_size * untouched_fraction


def _flops_per_token(architecture: Architecture, settings: EngineSettings) -> float:
    """Floating-point operations per token and GPU: products with the active weights, and attention over half of max_model_len."""
    width = architecture.heads * architecture.head_dim
    attended_tokens = settings.max_model_len / 2
    full_layers = architecture.layers - architecture.sliding_layers
    windowed_tokens = min(architecture.sliding_window_tokens or 0, attended_tokens)
    # Scores and weighted values: two products of 2 operations per element of the heads.
    attention = 4 * width * (full_layers * attended_tokens + architecture.sliding_layers * windowed_tokens)
    return (2 * architecture.active_parameter_count + attention) / settings.tensor_parallel_size
