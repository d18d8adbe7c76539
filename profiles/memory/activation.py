"""Peak memory of the forward pass and of the sampler's warm-up, which vLLM profiles at start-up.

Profiling runs max_num_batched_tokens tokens through the model and then samples for max_num_seqs sequences; the larger of the two is the
peak. With T tokens, S sequences, H hidden, I MLP width and V vocabulary, in elements of the activations' dtype unless bytes are named:

    forward  T * (3 I / tp + 3.7 H)
    sampler  S * V * (12 bytes + 1 element) + SMs * V * 4 bytes + (T + 2 S) * H            (last pipeline stage of models that generate)
    both     + 34 MiB + expert workspaces T * experts per token * (max(I, H) + max(2 I, H)) + images of one step + pipeline buffers 2 T H

The constants (profiles/memory/engine_constants) reproduce each of the 30 logged starts of vLLM 0.19 to 0.05 GiB.
"""

from __future__ import annotations

from profiles.gpu_types import GpuType
from profiles.memory.engine_constants import EngineConstants
from profiles.models import Architecture
from profiles.pipeline import Stage
from profiles.precision import dtype_bytes, weight_format
from profiles.settings import EngineSettings

_MIB = 1 << 20
# SMs of a GPU type whose count is not known: the largest in the catalogue (RTX PRO 6000, 188), the safe side.
_UNKNOWN_SM_COUNT = 188
# Pixel values per image token where the model does not say: 28 x 28 pixels of three colours (Qwen2-VL, arXiv 2409.12191, section 2.1).
_VALUES_PER_IMAGE_TOKEN = 2352


def activation_bytes(architecture: Architecture, gpu: GpuType, settings: EngineSettings, stage: Stage, constants: EngineConstants) -> float:
    """Peak bytes of PyTorch's pool beyond weights and KV cache on each GPU of a pipeline stage."""
    element_bytes = dtype_bytes(architecture, settings)
    tokens, hidden = settings.max_num_batched_tokens, architecture.hidden
    peak_bytes = _forward_bytes(architecture, settings, constants, element_bytes)
    if stage.last and not architecture.pooling:
        peak_bytes = max(peak_bytes, _sampler_bytes(architecture, gpu, settings, constants, element_bytes))
    if stage.first:
        peak_bytes += _image_bytes(architecture, settings, element_bytes)
    if settings.pipeline_parallel_size > 1:
        peak_bytes += constants.pipeline_hidden_copies * tokens * hidden * element_bytes
    return peak_bytes + constants.fixed_activation_mib * _MIB + _expert_bytes(architecture, settings, constants, element_bytes)


def sampler_binds(architecture: Architecture, gpu: GpuType, settings: EngineSettings, constants: EngineConstants) -> bool:
    """Whether the sampler's warm-up and not the forward pass makes the peak; models that generate nothing have none."""
    if architecture.pooling:
        return False
    element_bytes = dtype_bytes(architecture, settings)
    forward_bytes = _forward_bytes(architecture, settings, constants, element_bytes)
    return _sampler_bytes(architecture, gpu, settings, constants, element_bytes) >= forward_bytes


def _forward_bytes(architecture: Architecture, settings: EngineSettings, constants: EngineConstants, element_bytes: int) -> float:
    # Without a gate there is one width less.
    alive = constants.forward_mlp_widths - (0 if architecture.gated_mlp else 1)
    mlp = alive * _mlp_width(architecture) / settings.tensor_parallel_size
    widths = mlp + constants.forward_hidden_widths * architecture.hidden
    return settings.max_num_batched_tokens * widths * element_bytes


def _mlp_width(architecture: Architecture) -> int:
    """The widest MLP that every token passes: dense layers and shared experts."""
    experts = architecture.experts
    if experts is None:
        return architecture.intermediate
    return max(architecture.intermediate if experts.layers < architecture.mlp_layers else 0, experts.shared_intermediate)


def _sampler_bytes(
    architecture: Architecture, gpu: GpuType, settings: EngineSettings, constants: EngineConstants, element_bytes: int
) -> float:
    # speculative decoding verifies all proposed tokens of a request at once
    sequences = min(settings.max_num_seqs * architecture.tokens_per_decode, settings.max_num_batched_tokens)
    logits_bytes = sequences * architecture.vocab * (constants.sampler_bytes_per_logit + element_bytes)
    rows = constants.sampler_rows_per_sm * min(gpu.sm_count or _UNKNOWN_SM_COUNT, sequences)
    hidden = (settings.max_num_batched_tokens + constants.sampled_hidden_copies * sequences) * architecture.hidden
    return logits_bytes + rows * architecture.vocab * 4 + hidden * element_bytes


def _expert_bytes(architecture: Architecture, settings: EngineSettings, constants: EngineConstants, element_bytes: int) -> float:
    """The two workspaces that modular expert kernels keep; kernels for mxfp4 weights allocate as they go."""
    experts = architecture.experts
    form = weight_format(architecture, settings)
    if experts is None or (form is not None and form.own_expert_kernels):
        return 0.0
    inner, hidden = experts.intermediate / settings.tensor_parallel_size, architecture.hidden
    widths = max(inner, hidden) + max((2 if architecture.gated_mlp else 1) * inner, hidden)
    return constants.expert_workspaces * settings.max_num_batched_tokens * experts.per_token * widths * element_bytes


def _image_bytes(architecture: Architecture, settings: EngineSettings, element_bytes: int) -> float:
    """Pixels and encoder outputs of the largest images that one step takes, which profiling keeps until its end."""
    if not architecture.vision_parameters:
        return 0.0
    tokens = settings.max_num_batched_tokens
    if not architecture.image_tokens:
        return tokens * (architecture.hidden + _VALUES_PER_IMAGE_TOKEN) * element_bytes
    images = max(tokens // architecture.image_tokens, 1)
    return images * (architecture.image_tokens * architecture.hidden + architecture.image_values) * element_bytes
