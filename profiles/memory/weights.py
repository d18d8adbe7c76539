"""Bytes of weights per GPU from a model's dimensions."""

from __future__ import annotations

import math
from dataclasses import replace

from profiles.memory.adapters import adapter_elements
from profiles.models import Architecture
from profiles.pipeline import Stage, stages
from profiles.precision import WeightFormat, dtype_bytes, weight_format
from profiles.settings import EngineSettings
from profiles.support import padded_vocab
from profiles.unquantized import unquantized


def weight_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    """Bytes of weights per GPU of the pipeline stage that holds the most."""
    return max(stage_weight_bytes(architecture, settings, stage) for stage in stages(architecture, settings))


def whole_weight_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    """Bytes of all weights on one GPU, without what the engine computes instead of loading (rotary tables)."""
    alone = replace(settings, tensor_parallel_size=1, pipeline_parallel_size=1)
    return weight_bytes(architecture, alone) - _rotary_elements(architecture) * dtype_bytes(architecture, settings)


def stage_weight_bytes(architecture: Architecture, settings: EngineSettings, stage: Stage, scale: float = 1.0) -> float:
    """Bytes of weights per GPU of one pipeline stage; what is loaded is multiplied by scale, rotary tables are not.

    Blocks and embeddings are divided over the ranks; norms, the vision tower, latent down-projections, rotary tables and KV heads beyond
    one per rank are held by every rank, slots for LoRA adapters too.
    Quantised formats cover what Architecture.quant_scope says without its unquantized_modules, embeddings never.
    """
    size = settings.tensor_parallel_size
    plain_bytes = dtype_bytes(architecture, settings)
    attention_bytes, linear_bytes, expert_bytes = _quantised_bytes(architecture, settings)
    divided_bytes = linear_bytes + expert_bytes
    replicated_bytes = _replicated_parameters(architecture, size) * attention_bytes / max(architecture.attention_parameters, 1)
    blocks = divided_bytes / size + architecture.norm_parameters * plain_bytes + replicated_bytes
    vision = architecture.vision_parameters if stage.first else 0
    adapters = settings.max_loras * settings.max_lora_rank * adapter_elements(architecture) * plain_bytes if settings.max_loras else 0
    loaded_bytes = adapters * stage.part + blocks * stage.part + (_embedding_parameters(architecture, stage) / size + vision) * plain_bytes
    return loaded_bytes * scale + _rotary_elements(architecture) * plain_bytes


def _quantised_bytes(architecture: Architecture, settings: EngineSettings) -> tuple[float, float, float]:
    """Bytes of all attention projections; of these and the MLPs that every token passes; of all routed experts."""
    form = weight_format(architecture, settings)
    plain_bytes = float(dtype_bytes(architecture, settings))
    attention, mlps, experts = architecture.attention_parameters, architecture.dense_mlp_parameters, architecture.expert_parameters
    if form is None:
        return attention * plain_bytes, (attention + mlps) * plain_bytes, experts * plain_bytes
    kept = unquantized(architecture)
    linear_bytes = plain_bytes if architecture.quant_scope == "experts" else form.bytes_per_parameter
    expert_bytes = form.bytes_per_parameter * _expert_padding(architecture, form, settings.tensor_parallel_size)
    attention_bytes = attention * linear_bytes + kept.attention_parameters * (plain_bytes - linear_bytes)
    mlp_bytes = mlps * linear_bytes + kept.mlp_parameters * (plain_bytes - linear_bytes)
    return attention_bytes, attention_bytes + mlp_bytes, experts * expert_bytes + kept.expert_parameters * (plain_bytes - expert_bytes)


def _embedding_parameters(architecture: Architecture, stage: Stage) -> int:
    """Padded rows of the input embedding and the output head that the stage holds; tied ones are one matrix where both are needed.

    Embeddings of layers, positions and segments come on top.
    """
    matrix = padded_vocab(architecture) * architecture.hidden
    layers = architecture.per_layer_embedding_parameters + architecture.position_parameters if stage.first else 0
    if stage.first and stage.last:
        return layers + (matrix if architecture.tie_embeddings else 2 * matrix)
    return layers + matrix * (stage.first + stage.last)


def _rotary_elements(architecture: Architecture) -> int:
    """Sines and cosines of all positions, which vLLM computes at start-up (vllm/model_executor/layers/rotary_embedding/base.py)."""
    if architecture.encoder is not None and architecture.encoder.learned_positions:
        return 0
    if architecture.mla is not None:
        return architecture.max_position * architecture.mla.qk_rope_head_dim
    others = architecture.global_layers.head_dim if architecture.global_layers else 0
    return architecture.max_position * (architecture.head_dim + others)


def _expert_padding(architecture: Architecture, form: WeightFormat, size: int) -> float:
    """Stored over nominal size of the routed experts, whose two widths the kernels may round up."""
    if architecture.experts is None:
        return 1.0
    inner = architecture.experts.intermediate / size
    return (
        _padded(inner, form.expert_inner_multiple) / inner * _padded(architecture.hidden, form.expert_hidden_multiple) / architecture.hidden
    )


def _padded(width: float, multiple: int) -> int:
    return math.ceil(width / multiple) * multiple


def _replicated_parameters(architecture: Architecture, size: int) -> float:
    """Parameters per rank beyond an even division of the attention weights."""
    if architecture.mla is not None:
        # Down-projections of MLA and the indexer are whole on every rank (ReplicatedLinear in vllm/model_executor/models/deepseek_v2.py).
        latent = architecture.mla.kv_lora_rank + architecture.mla.qk_rope_head_dim + (architecture.mla.q_lora_rank or 0)
        return architecture.attention_layers * (architecture.hidden * latent + architecture.indexer_parameters) * (1 - 1 / size)
    full, windowed = architecture.cached_layers
    heads = architecture.full_heads
    width = full * heads.head_dim * max(1 - heads.kv_heads / size, 0) + windowed * architecture.head_dim * max(
        1 - architecture.kv_heads / size, 0
    )
    return 2 * architecture.hidden * width
