"""From a model, engine settings and KV bytes to the limits of the step core."""

from __future__ import annotations

from planner.simulation.requests import EngineConfig
from profiles.kv import kv_blocks, kv_pool_tokens
from profiles.models import Architecture
from profiles.settings import EngineSettings


def engine_config(
    architecture: Architecture, settings: EngineSettings, kv_bytes: int, max_num_queued_reqs: int | None = None
) -> EngineConfig:
    """The limits of an engine whose KV pool has kv_bytes per GPU.

    The core knows one kind of block that holds block_size tokens of all layers. Where layers with a sliding window draw on the same pool a
    token takes blocks of several groups: the pool is then stated as the tokens that vLLM reports for it (exact for requests of
    max_model_len, too small for a mix of shorter ones by up to the share of the window). Raises ValueError for a pool vLLM cannot start with.
    """
    if architecture.sliding_layers == 0:
        blocks = kv_blocks(architecture, settings, kv_bytes)
    else:
        blocks = kv_pool_tokens(architecture, settings, kv_bytes) // settings.block_size
    return EngineConfig(
        kv_blocks=blocks,
        block_size=settings.block_size,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_model_len=settings.max_model_len,
        max_num_queued_reqs=max_num_queued_reqs,
    )
