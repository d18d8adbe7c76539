"""What a GPU's data sheet allows at best: times no plain engine can beat."""

from __future__ import annotations

from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.precision import dtype_bytes, product_tflops, weight_format
from profiles.settings import EngineSettings
from profiles.store.measurements import LatencyPoint


def least_tpot_s(architecture: Architecture, gpu: GpuType, point: LatencyPoint) -> float:
    """Seconds to read the weights that one token is multiplied with once, at the full bandwidth of all GPUs that hold them.

    Only speculative decoding gets below it. ValueError for a MIG profile that the GPU type does not have.
    """
    settings = _settings(point)
    form = weight_format(architecture, settings)
    parameter_bytes = form.bytes_per_parameter if form is not None else float(dtype_bytes(architecture, settings))
    bandwidth = gpu.memory_bandwidth_gb_per_s * 1e9 * _slice_fraction(gpu, point, memory=True) * _gpus(point)
    return architecture.active_parameter_count * parameter_bytes / bandwidth


def least_ttft_s(architecture: Architecture, gpu: GpuType, point: LatencyPoint) -> float:
    """Seconds to compute a prompt of the mean length at the full rate of all GPUs; only cached prefixes get below it.

    Two operations per parameter and token; of the output head, one token; attention is left out.
    """
    per_token = 2 * (architecture.active_parameter_count - architecture.vocab * architecture.hidden)
    flops_per_s = product_tflops(architecture, gpu, _settings(point)) * 1e12 * _slice_fraction(gpu, point, memory=False)
    return per_token * point.input_tokens / (flops_per_s * _gpus(point) * point.pipeline_parallel_size)


def _settings(point: LatencyPoint) -> EngineSettings:
    return EngineSettings(dtype="auto", quantization=point.quantization, tensor_parallel_size=point.tensor_parallel_size)


def _gpus(point: LatencyPoint) -> int:
    """GPUs that work on one layer."""
    return max(point.tensor_parallel_size, point.expert_parallel_size) * point.attention_data_parallel_size


def _slice_fraction(gpu: GpuType, point: LatencyPoint, *, memory: bool) -> float:
    if point.mig_profile is None:
        return 1.0
    profile = gpu.mig_profile(point.mig_profile)
    return profile.memory_slices / gpu.mig_memory_slices if memory else profile.compute_slices / gpu.mig_compute_slices
