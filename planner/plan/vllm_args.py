"""What an engine is started with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from planner.plan.bounds import KvBytes, Percentage, PlanPart, Port, Some, Tokens, Utilization
from planner.plan.extra_args import ExtraArg
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.speculation import FLAG, speculating


class LoraModule(PlanPart):
    """A LoRA adapter that an engine serves under its own name."""

    name: str
    path: str


Runner = Literal["pooling"]
SchedulingPolicy = Literal["fcfs", "priority"]


class EngineArgs(PlanPart):
    """Arguments of `vllm serve`, under vLLM's own names; None leaves the engine's default.

    kv_cache_memory_bytes is 0 for an encoder, which has no KV cache. hf_overrides is JSON. also_served_as are further values of
    --served-model-name: the engine answers to them too, and routes of these names may send it requests, but it has no part in them.
    scheduling_policy: by order of arrival, or the most urgent requests first. active_thread_percentage is the part of the GPU's threads
    that MPS lets it use (CUDA_MPS_ACTIVE_THREAD_PERCENTAGE); None for one that does not share its GPU by MPS.
    """

    model: str
    served_model_name: str
    host: str
    port: Port
    dtype: str
    max_model_len: Tokens
    max_num_seqs: Some
    max_num_batched_tokens: Tokens
    kv_cache_memory_bytes: KvBytes
    gpu_memory_utilization: Utilization
    tensor_parallel_size: Some = 1
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    revision: str | None = None
    stream_interval: Some = 1
    enable_sleep_mode: bool = False
    enforce_eager: bool = False
    lora_modules: tuple[LoraModule, ...] = ()
    max_loras: Some | None = None
    max_lora_rank: Some | None = None
    runner: Runner | None = None
    hf_overrides: str | None = None
    extra_args: tuple[ExtraArg, ...] = ()
    also_served_as: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    scheduling_policy: SchedulingPolicy = Field(default="fcfs", exclude_if=lambda policy: policy == "fcfs")
    active_thread_percentage: Percentage | None = Field(default=None, exclude_if=lambda percentage: percentage is None)

    @property
    def names(self) -> tuple[str, ...]:
        """The models that requests may name: the served one and its adapters."""
        return (self.served_model_name, *(module.name for module in self.lora_modules))

    def settings(self, engine_version: str) -> EngineSettings:
        """What the models of memory and time need to know of an engine of this version with these arguments."""
        return EngineSettings(
            engine_version=engine_version,
            dtype=self.dtype,
            quantization=self.quantization,
            kv_cache_dtype=self.kv_cache_dtype,
            tensor_parallel_size=self.tensor_parallel_size,
            max_model_len=self.max_model_len,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            enforce_eager=self.enforce_eager,
            active_thread_percentage=self.active_thread_percentage or 100,
            max_loras=self.max_loras or 0,
            max_lora_rank=self.max_lora_rank or 0,
            # vLLM 0.32's default: two steps in flight need a larger pool where layers have sliding windows
            async_scheduling=True,
        )


def loaded(architecture: Architecture, args: EngineArgs, find: Callable[[str], Architecture]) -> Architecture:
    """The model as an engine with these arguments runs it: pooled, or decoding speculatively. find looks a draft model up.

    ValueError for speculative decoding that cannot be counted.
    """
    if args.runner == "pooling":
        return architecture.pooled()
    config = next((extra.value for extra in args.extra_args if extra.flag == FLAG), None)
    return architecture if config is None else speculating(architecture, config, find)
