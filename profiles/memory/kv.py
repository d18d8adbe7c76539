"""Arithmetic of vLLM's paged KV cache, exact to the byte against vllm/v1/core/kv_cache_utils.py (0.32).

Layers of one kind form groups of equal size, all groups draw blocks of equal bytes from one pool, and one block is held back as null block.
A request of `tokens` takes per group: full attention ceil(tokens / block) blocks; a sliding window of W tokens
ceil(min(W - 1 + tokens in flight, tokens) / block) + 1; a chunk of C tokens ceil(min(C + tokens in flight, tokens) / block); a recurrent
state one block, two when prefix caching keeps an aligned copy. Where states exist a block holds so many tokens that no state is larger.
Encoders have no pool: what is asked of theirs is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from profiles.model_parts import GlobalLayers, Recurrent
from profiles.models import DTYPE_BYTES, Architecture
from profiles.pipeline import largest_stage_layers
from profiles.precision import dtype_bytes, kv_element_bytes
from profiles.settings import EngineSettings

# With several kinds the groups take the smallest count of layers, or the largest one when it is less than 1.5 times the smallest
# (_get_kv_cache_groups_uniform_page_size in vllm/v1/core/kv_cache_utils.py).
_GROUP_RATIO = 1.5
# Tokens to which a block is rounded up where states share the pool: the smallest kernel block of FlashAttention, and 128 for latent
# attention (_align_hybrid_block_size in vllm/platforms/interface.py, 0.32).
_STATE_ALIGNMENT_TOKENS = 16
_LATENT_STATE_ALIGNMENT_TOKENS = 128


def has_cache(architecture: Architecture) -> bool:
    """Whether engines of the model have a KV pool; encoders have none (AttentionType.ENCODER_ONLY has no cache, 0.32)."""
    return architecture.encoder is None


@dataclass(frozen=True, slots=True)
class _Groups:
    """Layer groups of one model: how many attend to everything, through a window, keep a state; and the layers in each."""

    full: int
    windowed: int
    states: int
    layers: int


# Asked for at every rate that a replica is sized for, as are the bytes of a block.
@lru_cache(maxsize=256)
def _groups(architecture: Architecture) -> _Groups:
    states = architecture.recurrent.layers if architecture.recurrent else 0
    counts = (*architecture.cached_layers, states)
    present = [count for count in counts if count]
    fewest, most = min(present), max(present)
    size = most if most < fewest * _GROUP_RATIO else fewest
    full, windows, recurrent = (-(-count // size) for count in counts)
    return _Groups(full, windows, recurrent, size)


def layer_token_bytes(architecture: Architecture, settings: EngineSettings, *, windowed: bool = False) -> int:
    """Bytes that one token takes in one layer on one GPU, a layer that attends to everything or one that slides.

    Grouped-query attention keeps keys and values of its share of the KV heads, at least one (replicated when there are more ranks than
    heads). Multi-head latent attention keeps one latent vector on every rank, and the key of the indexer where it is sparse.
    """
    element_bytes = kv_element_bytes(architecture, settings)
    if architecture.mla is not None:
        mla, indexer = architecture.mla, architecture.indexer
        if indexer is None:
            return (mla.kv_lora_rank + mla.qk_rope_head_dim) * element_bytes
        # Sparse attention under fp8 is fp8_ds_mla: the latent in fp8 with scales, the rope part in two bytes; the indexer's key is always
        # fp8 with scales (vllm/v1/kv_cache_interface.py, MLAAttentionSpec; deepseek_v2.py, DeepseekV32IndexerCache).
        latent_bytes = _scaled_fp8_bytes(mla.kv_lora_rank) if element_bytes == 1 else mla.kv_lora_rank * element_bytes
        return latent_bytes + mla.qk_rope_head_dim * max(element_bytes, 2) + _scaled_fp8_bytes(indexer.head_dim)
    heads = GlobalLayers(architecture.kv_heads, architecture.head_dim) if windowed else architecture.full_heads
    return 2 * max(heads.kv_heads // settings.tensor_parallel_size, 1) * heads.head_dim * element_bytes


def _scaled_fp8_bytes(elements: int) -> int:
    """fp8 elements with one 4-byte scale per 128 (vllm/model_executor/models/deepseek_v2.py, quant_block_size)."""
    return elements + 4 * -(-elements // 128)


def state_bytes_per_layer(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes per GPU of one request's state in one recurrent layer; 0 for a model without such layers.

    MambaStateShapeCalculator in vllm/model_executor/layers/mamba/mamba_utils.py (0.32): the last conv_kernel - 1 inputs of the convolution
    in the dtype of the activations, and value_heads matrices of value_dim * key_dim; both divided over the ranks.
    """
    recurrent = architecture.recurrent
    if recurrent is None:
        return 0
    size = settings.tensor_parallel_size
    conv = _conv_width(recurrent, size) // size * (recurrent.conv_kernel - 1)
    state = recurrent.value_heads // size * recurrent.value_dim * recurrent.key_dim
    return conv * dtype_bytes(architecture, settings) + state * DTYPE_BYTES[recurrent.state_dtype]


def _conv_width(recurrent: Recurrent, size: int) -> int:
    """Elements that pass the convolution, with the groups that Mamba-2 repeats when the ranks do not divide them."""
    if recurrent.key_heads % size == 0:
        return recurrent.conv_width
    return 2 * size * recurrent.key_dim + recurrent.value_width


def kv_block_tokens(architecture: Architecture, settings: EngineSettings, *, windowed: bool = False) -> int:
    """Tokens of one block of such layers: block_size, or what makes a block as large as a recurrent state.

    Where layers that slide and others differ in heads, blocks of the smaller ones hold as many times more tokens
    (unify_kv_cache_spec_page_size in vllm/v1/core/kv_cache_utils.py, 0.32), or are padded when that is no whole number.
    """
    state_bytes = state_bytes_per_layer(architecture, settings)
    if not state_bytes:
        larger, rest = divmod(_largest_token_bytes(architecture, settings), layer_token_bytes(architecture, settings, windowed=windowed))
        return settings.block_size * (1 if rest else larger)
    alignment = max(_STATE_ALIGNMENT_TOKENS if architecture.mla is None else _LATENT_STATE_ALIGNMENT_TOKENS, settings.block_size)
    return alignment * -(-state_bytes // (alignment * layer_token_bytes(architecture, settings)))


def _largest_token_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """The most that a token takes in one layer of those that have a cache."""
    full, windowed = architecture.cached_layers
    present = [kind for kind, count in ((False, full), (True, windowed)) if count]
    return max(layer_token_bytes(architecture, settings, windowed=kind) for kind in present)


def kv_bytes_per_token(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes that one token within every window takes over all attention layers of the largest pipeline stage, per GPU.

    A draft model keeps its own keys and values in the same blocks (UniformTypeKVCacheSpecs in vllm/v1/kv_cache_interface.py, 0.32).
    """
    full, windowed = (_stage_layers(layers, architecture, settings) for layers in architecture.cached_layers)
    window_bytes = windowed * layer_token_bytes(architecture, settings, windowed=True)
    drafted = kv_bytes_per_token(architecture.draft, settings) if architecture.draft else 0
    return full * layer_token_bytes(architecture, settings) + window_bytes + drafted


def _stage_layers(layers: int, architecture: Architecture, settings: EngineSettings) -> int:
    """How many of these layers the largest pipeline stage holds, rounded up."""
    return -(-layers * largest_stage_layers(architecture, settings) // architecture.layers)


def kv_bytes_per_block(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes of one block of the pool, per GPU of the largest pipeline stage: the tokens of a block in the layers of one group."""
    return _block_bytes(architecture, settings)


@lru_cache(maxsize=256)
def _block_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    layers = _stage_layers(_groups(architecture).layers, architecture, settings)
    if architecture.recurrent is not None:
        return layers * kv_block_tokens(architecture, settings) * layer_token_bytes(architecture, settings)
    drafted = kv_bytes_per_token(architecture.draft, settings) if architecture.draft else 0
    return settings.block_size * (layers * _largest_token_bytes(architecture, settings) + drafted)


def tokens_in_flight(settings: EngineSettings) -> int:
    """Tokens scheduled and not yet settled: a full step for each batch in flight (VllmConfig.max_in_flight_tokens, 0.32)."""
    pipeline = settings.pipeline_parallel_size
    batches = 2 if settings.async_scheduling and pipeline == 1 else pipeline
    return batches * settings.max_num_batched_tokens


def _state_blocks(architecture: Architecture, settings: EngineSettings) -> int:
    """Blocks with a state of one request: speculative decoding keeps one more for each proposed token (MambaSpec, 0.32)."""
    return (2 if settings.mamba_cache_mode == "align" else 1) + architecture.tokens_per_decode - 1


@dataclass(frozen=True, slots=True)
class RequestBlocks:
    """How many blocks one request holds, over all groups, for any length.

    full and windowed count groups with blocks of block_tokens and window_block_tokens, state_blocks are held at any length; a window keeps
    at most kept_tokens, in one block more when it may begin inside a block.
    """

    full: int
    windowed: int
    state_blocks: int
    block_tokens: int
    kept_tokens: int
    window_slack: int
    window_block_tokens: int

    def of(self, tokens: int) -> int:
        """Blocks that a request of that many tokens can come to hold."""
        blocks = self.full * -(-tokens // self.block_tokens) + self.state_blocks
        if self.windowed:
            blocks += self.windowed * (-(-min(self.kept_tokens, tokens) // self.window_block_tokens) + self.window_slack)
        return blocks


@lru_cache(maxsize=256)
def request_blocks(architecture: Architecture, settings: EngineSettings) -> RequestBlocks:
    """The counter of blocks for requests of one engine."""
    groups = _groups(architecture)
    return RequestBlocks(
        full=groups.full,
        windowed=groups.windowed,
        state_blocks=groups.states * _state_blocks(architecture, settings),
        block_tokens=kv_block_tokens(architecture, settings),
        kept_tokens=_kept_tokens(architecture, settings),
        window_slack=0 if architecture.chunked else 1,
        window_block_tokens=kv_block_tokens(architecture, settings, windowed=True),
    )


def kv_blocks_per_request(architecture: Architecture, settings: EngineSettings, tokens: int) -> int:
    """Blocks over all groups that one request of that many tokens can come to hold."""
    return request_blocks(architecture, settings).of(tokens)


def kv_blocks(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> int:
    """Blocks that vLLM makes of kv_bytes per GPU, the null block included."""
    return kv_bytes // kv_bytes_per_block(architecture, settings)


def max_concurrency(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> float:
    """Requests of max_model_len tokens that a pool of kv_bytes per GPU holds at once, as vLLM logs it."""
    return kv_blocks(architecture, settings, kv_bytes) / kv_blocks_per_request(architecture, settings, settings.max_model_len)


def kv_pool_tokens(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> int:
    """Tokens that vLLM reports for a pool of kv_bytes per GPU: requests of max_model_len that fit, times max_model_len."""
    return int(max_concurrency(architecture, settings, kv_bytes) * settings.max_model_len)


def kv_bytes_for_tokens(architecture: Architecture, settings: EngineSettings, tokens: int, request_tokens: float | None = None) -> int:
    """Bytes per GPU of a pool that holds this many tokens of requests in flight, whole blocks and the null block included.

    request_tokens is their mean length, which tells how much of them a window keeps and how many states there are: what is kept is concave
    in the length, so that the mean never underestimates a mixture. None counts every token as if it lay within the window, which is safe
    for all lengths, and one request's state.
    """
    if not has_cache(architecture):
        return 0
    held = request_blocks(architecture, settings)
    length = tokens if request_tokens is None else min(request_tokens, tokens)
    requests = math.ceil(tokens / length) if tokens else 0
    blocks = held.full * -(-tokens // held.block_tokens) + held.state_blocks * requests
    if held.windowed:
        kept = length if request_tokens is None else min(held.kept_tokens, length)
        blocks += held.windowed * (math.ceil(tokens * kept / length / held.window_block_tokens) + requests)
    return (blocks + 1) * kv_bytes_per_block(architecture, settings)


def _kept_tokens(architecture: Architecture, settings: EngineSettings) -> int:
    return (architecture.sliding_window_tokens or 0) - (0 if architecture.chunked else 1) + tokens_in_flight(settings)


def min_kv_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """The least bytes per GPU with which vLLM starts: one request of max_model_len tokens and the null block; 0 without a pool."""
    if not has_cache(architecture):
        return 0
    blocks = kv_blocks_per_request(architecture, settings, settings.max_model_len)
    return (blocks + 1) * kv_bytes_per_block(architecture, settings)
