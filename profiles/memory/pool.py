"""The least KV pool an engine starts with: one longest request, and a block for every sequence of a model with recurrent states.

With CUDA graphs of decode steps vLLM refuses to start when max_num_seqs is above the number of blocks, since each sequence that decodes
takes a block with its state: "max_num_seqs (1024) exceeds available Mamba cache blocks (856)" (vllm/config/compilation.py, 0.32).
"""

from __future__ import annotations

from profiles.memory.kv import kv_blocks, kv_bytes_per_block, min_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.versions import version_key

# The first version that refuses.
_FIRST_VERSION = "0.19"


def needs_block_per_sequence(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether the engine refuses more sequences than blocks: with recurrent states, CUDA graphs and a version that checks it."""
    checked = version_key(settings.engine_version) >= version_key(f"{_FIRST_VERSION}.0rc0")
    return architecture.recurrent is not None and not settings.enforce_eager and checked


def least_kv_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """The least bytes per GPU with which vLLM starts with these settings."""
    request_bytes = min_kv_bytes(architecture, settings)
    if not needs_block_per_sequence(architecture, settings):
        return request_bytes
    return max(request_bytes, settings.max_num_seqs * kv_bytes_per_block(architecture, settings))


def least_pool_holds(architecture: Architecture, settings: EngineSettings) -> str:
    """What the least pool is for, in words."""
    if least_kv_bytes(architecture, settings) > min_kv_bytes(architecture, settings):
        return f"states of {settings.max_num_seqs} sequences (max_num_seqs)"
    return f"one request of {settings.max_model_len} tokens"


def largest_max_num_seqs(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> int:
    """The largest max_num_seqs with which an engine with a pool of kv_bytes per GPU starts, at most that of the settings."""
    if not needs_block_per_sequence(architecture, settings):
        return settings.max_num_seqs
    return min(settings.max_num_seqs, kv_blocks(architecture, settings, kv_bytes))


def pool_reason(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> str | None:
    """Why vLLM does not start with a pool of kv_bytes per GPU; None when it does."""
    request_bytes = min_kv_bytes(architecture, settings)
    if kv_bytes < request_bytes:
        request = f"one request of {settings.max_model_len} tokens"
        return f"a KV pool of {kv_bytes} bytes cannot hold {request}, which takes {request_bytes} bytes"
    blocks = largest_max_num_seqs(architecture, settings, kv_bytes)
    if blocks < settings.max_num_seqs:
        return (
            f"max_num_seqs {settings.max_num_seqs} is more than the {blocks} blocks of a KV pool of {kv_bytes} bytes, and each sequence "
            f"takes a block with its recurrent state; lower max_num_seqs to {blocks}, or give the pool "
            f"{least_kv_bytes(architecture, settings)} bytes"
        )
    return None
