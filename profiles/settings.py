"""What of a vLLM engine's configuration decides its memory and its speed, and the error for configurations that cannot run."""

from __future__ import annotations

from dataclasses import dataclass


class UnsupportedError(ValueError):
    """A configuration that cannot run or that the models here do not cover; the message names the reason with numbers."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one vLLM engine; fields carry the names of vLLM's own flags.

    quantization None means the checkpoint's own. The defaults for max_num_seqs and max_num_batched_tokens are those vLLM 0.32
    takes on GPUs below 70 GiB and on A100 (vllm/engine/arg_utils.py), which are the frugal ones. async_scheduling keeps two steps in
    flight, whose tokens windows must hold too; vLLM turns it on by itself where the executor can (vllm/config/vllm.py, 0.32).
    active_thread_percentage is the part of the GPU's threads that MPS lets the engine use (NVIDIA's name of it).
    max_loras adapters of a rank up to max_lora_rank have a slot on the GPU.
    mamba_cache_mode "align" (prefix caching of state-space layers) keeps two states per request.
    """

    engine_version: str = "0.32.0"
    dtype: str = "bfloat16"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_model_len: int = 8192
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    enforce_eager: bool = False
    block_size: int = 16
    async_scheduling: bool = False
    mamba_cache_mode: str = "none"
    max_loras: int = 0
    max_lora_rank: int = 0
    active_thread_percentage: int = 100
