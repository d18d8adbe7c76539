"""What one step of a model asks of a GPU: bytes to read, operations to compute, bytes to exchange. No rates, no fitted numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from profiles.memory.kv import has_cache, layer_token_bytes
from profiles.memory.weights import weight_bytes
from profiles.models import DTYPE_BYTES, Architecture
from profiles.precision import dtype_bytes
from profiles.settings import EngineSettings

# A window of up to this many tokens counts as full for every request, a longer one as never full: chats are longer than the first (gpt-oss
# 128, Gemma 3 1024) and shorter than the second (Mistral 4096, Gemma 2 4096, Llama 4 8192).
_FULL_WINDOW_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class StepWork:
    """Per GPU, over all layers: what a step costs, by what it grows with.

    weights_bytes is read by every step, expert_bytes by a step whose tokens touch all routed experts, kv_bytes per cached token read,
    sequence_bytes per request (windows that are always full, recurrent states read and written). token_flops are products with weights
    per token, of them expert_flops with routed experts; window_flops attention within windows per token, pair_flops attention per pair
    of tokens, kv_flops attention per cached token read by one that decodes. reduced_bytes cross each link per token, in all_reduces
    transfers per step.
    """

    weights_bytes: float
    expert_bytes: float
    kv_bytes: float
    sequence_bytes: float
    token_flops: float
    expert_flops: float
    window_flops: float
    pair_flops: float
    kv_flops: float
    reduced_bytes: float
    all_reduces: int


def kind(architecture: Architecture) -> str:
    """What decides how steps behave beyond plain dense layers: parts joined by "+", or "dense"."""
    parts = {
        "moe": architecture.experts is not None,
        "mla": architecture.mla is not None,
        "recurrent": architecture.recurrent is not None,
        "windows": architecture.sliding_layers > 0,
    }
    return "+".join(name for name, present in parts.items() if present) or "dense"


def step_work(architecture: Architecture, settings: EngineSettings, data_parallel_size: int = 1) -> StepWork:
    """The work of one step; with pipeline stages that of all stages one after the other.

    data_parallel_size ranks attend to their own requests, whole weights each, while routed experts are divided over all of them.
    """
    return _step_work(architecture, settings, data_parallel_size)


# One model's engines on all GPU types of a fleet do the same work.
@lru_cache(maxsize=256)
def _step_work(architecture: Architecture, settings: EngineSettings, data_parallel_size: int) -> StepWork:
    whole = replace(settings, pipeline_parallel_size=1)
    size = settings.tensor_parallel_size
    plain_bytes = dtype_bytes(architecture, settings)
    always_bytes = weight_bytes(_without_experts(architecture), whole)
    # Of a separate input embedding only the rows of the step's tokens are read, and the vision tower by no step that makes text.
    unread = (
        architecture.vision_parameters
        + architecture.per_layer_embedding_parameters / size
        + (0 if architecture.tie_embeddings and not architecture.pooling else architecture.vocab * architecture.hidden / size)
        + architecture.position_parameters / size
    )
    windowed, full = _attention_layers(architecture)
    full_kv_bytes = layer_token_bytes(architecture, whole)
    window_kv_bytes = layer_token_bytes(architecture, whole, windowed=True)
    # Those that slide but are counted with the full ones have the heads of sliding layers.
    long_windows = architecture.sliding_layers - windowed
    window_tokens = architecture.sliding_window_tokens or 0
    all_reduces = 2 * architecture.layers if size > 1 else 0
    cached = int(has_cache(architecture))
    experts = architecture.experts
    return StepWork(
        weights_bytes=always_bytes - unread * plain_bytes,
        expert_bytes=(weight_bytes(architecture, whole) - always_bytes) / data_parallel_size,
        kv_bytes=((full - long_windows) * full_kv_bytes + long_windows * window_kv_bytes) * cached,
        sequence_bytes=windowed * window_kv_bytes * window_tokens * cached + 2 * _state_bytes(architecture) / size,
        token_flops=2 * (architecture.active_parameter_count - architecture.vocab * architecture.hidden) / size,
        expert_flops=2 * architecture.expert_parameters * (experts.per_token / experts.count) / size if experts else 0.0,
        window_flops=windowed * window_tokens * _pair_flops(architecture, architecture.head_dim) / size,
        # Pairs are counted as a decoder attends, to what came before; an encoder's tokens attend to what comes after as well.
        pair_flops=full * _pair_flops(architecture, architecture.full_heads.head_dim) * (1 if cached else 2) / size,
        kv_flops=_kv_flops(architecture) * cached / size,
        # A ring all-reduce moves 2 (n - 1) / n of the data over each link (Patarasuk and Yuan, 2009).
        reduced_bytes=all_reduces * architecture.hidden * plain_bytes * 2 * (size - 1) / size,
        all_reduces=all_reduces,
    )


def _attention_layers(architecture: Architecture) -> tuple[int, int]:
    """Layers whose window counts as full, and those that count as attending to everything."""
    short = architecture.sliding_layers if (architecture.sliding_window_tokens or 0) <= _FULL_WINDOW_TOKENS else 0
    return short, architecture.attention_layers - short


def _without_experts(architecture: Architecture) -> Architecture:
    return replace(architecture, experts=replace(architecture.experts, count=0)) if architecture.experts else architecture


def _state_bytes(architecture: Architecture) -> float:
    recurrent = architecture.recurrent
    if recurrent is None:
        return 0.0
    return recurrent.layers * recurrent.value_width * recurrent.key_dim * DTYPE_BYTES[recurrent.state_dtype]


def _pair_flops(architecture: Architecture, head_dim: int) -> float:
    """Scores and weighted values of one layer for one pair of tokens: 2 operations per element of the heads each."""
    if architecture.mla is not None:
        return 2 * architecture.heads * (head_dim + architecture.mla.v_head_dim)
    return 4 * architecture.heads * head_dim


def _kv_flops(architecture: Architecture) -> float:
    """Operations of all layers per cached token that one decoding request reads."""
    if architecture.mla is None:
        full = architecture.attention_layers - architecture.sliding_layers
        return full * _pair_flops(architecture, architecture.full_heads.head_dim) + architecture.sliding_layers * _pair_flops(
            architecture, architecture.head_dim
        )
    # Absorbed MLA attends within the latent (DeepSeek-V2, arXiv 2405.04434, section 2.1.2): scores over rank and rope part, values over
    # the rank.
    latent = 2 * architecture.mla.kv_lora_rank + architecture.mla.qk_rope_head_dim
    return architecture.attention_layers * 2 * architecture.heads * latent
