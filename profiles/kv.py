"""Arithmetic of vLLM's paged KV cache, exact to the byte against vllm/v1/core/kv_cache_utils.py (0.32).

Layers of one attention kind form groups of equal size. A block holds block_size tokens of one group's layers and all groups draw from one
pool, of which one block is held back as null block. Full attention needs ceil(tokens / block_size) blocks per request and group, a sliding
window of W tokens ceil(min(W - 1 + tokens in flight, tokens) / block_size) + 1. State-space layers cannot occur: Architecture has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiles.models import Architecture
from profiles.precision import kv_element_bytes
from profiles.settings import EngineSettings

# With two attention kinds the groups take the smaller count of layers, or the larger one when it is less than 1.5 times the smaller
# (_get_kv_cache_groups_uniform_page_size in vllm/v1/core/kv_cache_utils.py).
_GROUP_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class _Groups:
    """Layer groups of one model: how many attend to everything, how many through a window, layers in each."""

    full: int
    sliding: int
    layers: int


def _groups(architecture: Architecture) -> _Groups:
    sliding = architecture.sliding_layers
    full = architecture.layers - sliding
    if sliding == 0:
        return _Groups(1, 0, full)
    if full == 0:
        return _Groups(0, 1, sliding)
    fewer, more = sorted((full, sliding))
    size = more if more < fewer * _GROUP_RATIO else fewer
    return _Groups(-(-full // size), -(-sliding // size), size)


def _layer_token_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes that one token takes in one layer on one GPU.

    Grouped-query attention keeps keys and values of its share of the KV heads, at least one (replicated when there are more ranks than
    heads). Multi-head latent attention keeps one latent vector on every rank.
    """
    element_bytes = kv_element_bytes(architecture, settings)
    if architecture.mla is not None:
        return (architecture.mla.kv_lora_rank + architecture.mla.qk_rope_head_dim) * element_bytes
    return 2 * max(architecture.kv_heads // settings.tensor_parallel_size, 1) * architecture.head_dim * element_bytes


def kv_bytes_per_token(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes that one token within every window takes over all layers, per GPU."""
    return architecture.layers * _layer_token_bytes(architecture, settings)


def kv_bytes_per_block(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes of one block of the pool, per GPU: block_size tokens in the layers of one group."""
    return _groups(architecture).layers * settings.block_size * _layer_token_bytes(architecture, settings)


def _blocks_per_request(architecture: Architecture, settings: EngineSettings, tokens: int) -> int:
    groups = _groups(architecture)
    blocks = groups.full * -(-tokens // settings.block_size)
    if groups.sliding and architecture.sliding_window_tokens is not None:
        kept = min(architecture.sliding_window_tokens - 1 + settings.max_num_batched_tokens, tokens)
        blocks += groups.sliding * (-(-kept // settings.block_size) + 1)
    return blocks


def kv_blocks(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> int:
    """Blocks that vLLM makes of kv_bytes per GPU, the null block included."""
    return kv_bytes // kv_bytes_per_block(architecture, settings)


def kv_pool_tokens(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> int:
    """Tokens that vLLM reports for a pool of kv_bytes per GPU: requests of max_model_len that fit, times max_model_len."""
    blocks = kv_blocks(architecture, settings, kv_bytes)
    return int(blocks / _blocks_per_request(architecture, settings, settings.max_model_len) * settings.max_model_len)


def kv_bytes_for_tokens(architecture: Architecture, settings: EngineSettings, tokens: int, request_tokens: float | None = None) -> int:
    """Bytes per GPU of a pool that holds this many tokens of requests in flight, whole blocks and the null block included.

    request_tokens is their mean length, which tells how much of them a sliding window keeps: what it keeps is concave in the length, so
    that the mean never underestimates a mixture. None counts every token as if it lay within the window, which is safe for all lengths.
    """
    groups = _groups(architecture)
    blocks = groups.full * -(-tokens // settings.block_size)
    if groups.sliding and architecture.sliding_window_tokens is not None:
        length = tokens if request_tokens is None else min(request_tokens, tokens)
        kept = length if request_tokens is None else min(architecture.sliding_window_tokens - 1 + settings.max_num_batched_tokens, length)
        blocks += groups.sliding * (math.ceil(tokens * kept / length / settings.block_size) + math.ceil(tokens / length))
    return (blocks + 1) * kv_bytes_per_block(architecture, settings)


def min_kv_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """The least bytes per GPU with which vLLM starts: one request of max_model_len tokens and the null block."""
    blocks = _blocks_per_request(architecture, settings, settings.max_model_len)
    return (blocks + 1) * kv_bytes_per_block(architecture, settings)
