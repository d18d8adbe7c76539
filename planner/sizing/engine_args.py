"""The arguments that make a vLLM server a candidate."""

from __future__ import annotations

from planner.plan import EngineArgs, ExtraArg, GpuMode, LoraModule, is_shared
from planner.sizing.candidates import Candidate

# --gpu-memory-utilization is rendered with this many digits, rounded down: the engine refuses to start when this part of the GPU is
# not free, and takes the size of its KV cache from the bytes it is given. One step is 8 MiB of an 80 GiB GPU.
UTILIZATION_DIGITS = 4


def gpu_mode(candidate: Candidate) -> GpuMode:
    """How the GPUs of a candidate are used, in the plan's words."""
    return "tensor_parallel" if candidate.gpus > 1 else candidate.mode


def starts_with(candidate: Candidate, utilization_fraction: float) -> bool:
    """Whether an engine that was started with this --gpu-memory-utilization may stay as this candidate.

    An engine that runs does not look at it again, and its KV pool has its size in bytes. But when it is started again, vLLM wants this
    part of the GPU free, beside the context. So it may be lower than the ledger asks for, and higher as far as that is surely free:
    alone on its GPUs or in its slice by what the site offers, beside neighbours by half of the headroom that stays free beside all
    ledgers. The other half remains for neighbours that take more than their ledgers.
    """
    site, ledger = candidate.site, candidate.ledger
    free_mib = ledger.total_mib + site.headroom_mib // 2 if is_shared(candidate.mode) else site.memory_mib(candidate.mig)
    return utilization_fraction * _device_mib(candidate) + ledger.context_mib <= free_mib


def _ledger_fraction(candidate: Candidate) -> float:
    step: int = 10**UTILIZATION_DIGITS
    return (candidate.ledger.total_mib - candidate.ledger.context_mib) * step // _device_mib(candidate) / step


def _device_mib(candidate: Candidate) -> int:
    return candidate.mig.memory_mib if candidate.mig else candidate.site.gpu.memory_usable_mib


def engine_args(candidate: Candidate, host: str, port: int) -> EngineArgs:
    """The arguments that make a vLLM server this candidate."""
    group, settings, started = candidate.group, candidate.settings, candidate.utilization_fraction
    return EngineArgs(
        model=group.model.engine_model,
        served_model_name=group.name,
        host=host,
        port=port,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        kv_cache_memory_bytes=candidate.kv_bytes,
        gpu_memory_utilization=_ledger_fraction(candidate) if started is None else started,
        tensor_parallel_size=settings.tensor_parallel_size,
        quantization=settings.quantization,
        kv_cache_dtype=settings.kv_cache_dtype,
        revision=group.model.revision,
        extra_args=tuple(ExtraArg(flag=flag, value=value) for flag, value in group.model.extra_args),
        stream_interval=group.model.stream_interval,
        enable_sleep_mode=group.model.sleep,
        enforce_eager=settings.enforce_eager,
        lora_modules=tuple(LoraModule(name=adapter.name, path=adapter.engine_source) for adapter in group.adapters),
        max_loras=settings.max_loras or None,
        max_lora_rank=settings.max_lora_rank or None,
        runner="pooling" if group.model.pooling else None,
        also_served_as=(group.longer_of.served_name,) if group.longer_of is not None else tuple({item.model for item in group.apart}),
        scheduling_policy="priority" if group.priorities else "fcfs",
        active_thread_percentage=settings.active_thread_percentage if candidate.mode == "mps" else None,
        hf_overrides=(group.model.architecture.hf_overrides or None) if group.model.pooling else None,
    )
