"""From a model, engine settings and KV bytes to the limits of the step core."""

from __future__ import annotations

from planner.simulation.engine_requests import EngineConfig
from profiles.memory.kv import has_cache, kv_blocks, kv_bytes_per_block, min_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings


def engine_config(
    architecture: Architecture,
    settings: EngineSettings,
    kv_bytes: int,
    max_num_queued_reqs: int | None = None,
    *,
    by_priority: bool = False,
) -> EngineConfig:
    """The limits of an engine whose KV pool has kv_bytes per GPU.

    The core knows one kind of block, which holds block_size tokens of all layers. Where layers with a sliding window draw on the same pool
    a token takes blocks of several groups: the pool is then scaled so that as many requests of max_model_len fit as in vLLM; for shorter
    requests that is generous, since their window layers forget nothing yet. An engine without a pool is never short of it. Raises
    ValueError for a pool that vLLM cannot start with.
    """
    longest_blocks = -(-settings.max_model_len // settings.block_size)
    if has_cache(architecture):
        longest_pool_blocks = min_kv_bytes(architecture, settings) // kv_bytes_per_block(architecture, settings) - 1
        usable_blocks = (kv_blocks(architecture, settings, kv_bytes) - 1) * longest_blocks // longest_pool_blocks
    else:
        # one answer counts as one token, which must not ask for a block more than there is
        usable_blocks = (longest_blocks + 1) * settings.max_num_seqs
    return EngineConfig(
        kv_blocks=usable_blocks + 1,
        block_size=settings.block_size,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_model_len=settings.max_model_len,
        max_num_queued_reqs=max_num_queued_reqs,
        by_priority=by_priority,
    )
