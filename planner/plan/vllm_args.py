"""What an engine is started with."""

from __future__ import annotations

from planner.plan.bounds import KvBytes, PlanPart, Port, Some, Tokens, Utilization


class LoraModule(PlanPart):
    """A LoRA adapter that an engine serves under its own name."""

    name: str
    path: str


class EngineArgs(PlanPart):
    """Arguments of `vllm serve`, under vLLM's own names; None leaves the engine's default."""

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
    max_num_queued_reqs: int | None = None
    lora_modules: tuple[LoraModule, ...] = ()
    max_loras: Some | None = None
    max_lora_rank: Some | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The models that requests may name: the served one and its adapters."""
        return (self.served_model_name, *(module.name for module in self.lora_modules))
