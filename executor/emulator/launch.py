"""From options to a sized engine: architecture, memory and KV pool as vLLM would find them, or its refusal."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from executor.emulator.mps_client import ALL_THREADS, MpsError, thread_percentage
from executor.emulator.node_gpus import node_gpu_type
from executor.emulator.options import ServeOptions
from executor.emulator.residence import Residence
from planner.simulation.configuration import engine_config
from planner.simulation.engine_requests import EngineConfig
from profiles.catalogue import architecture_from_path, builtin
from profiles.gpu_types import GpuType, settings_on
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime
from profiles.memory.kv import has_cache, kv_blocks, kv_pool_tokens, min_kv_bytes
from profiles.memory.ledger import MemoryLedger, memory_ledger
from profiles.memory.lifecycle import start_s, wake_s
from profiles.memory.measured import measured_constants
from profiles.memory.pool import largest_max_num_seqs
from profiles.models import Architecture
from profiles.precision import quantization_reason
from profiles.settings import EngineSettings
from profiles.speculation import SpeculationError, speculating
from profiles.store.canonical import canonical
from profiles.store.measurements import Measurements
from profiles.store.store_folder import read_store

_MIB = 1 << 20
_GIB = 1 << 30

# Defaults by GPU memory of vLLM 0.32 (get_batch_defaults in vllm/engine/arg_utils.py): sequences and tokens per step.
_BIG_GPU_MIB = 70 * 1024
_HUGE_GPU_MIB = 160 * 1024
STORE_VARIABLE = "ULLAGE_EMULATED_STORE"
"""Names the folder of measurements that engines are as fast, and take as much memory, as."""

# vLLM's names for the same data type.
_DTYPES = {"half": "float16", "float": "float32"}


class LaunchError(RuntimeError):
    """The engine refuses to start; the message is vLLM's."""


@dataclass(frozen=True, slots=True)
class EmulatedEngine:
    """An engine that may start: everything the server needs to know about it. Times are real vLLM's, unscaled."""

    architecture: Architecture
    settings: EngineSettings
    core: EngineConfig
    ledger: MemoryLedger
    step_time: StepTime
    kv_bytes: int
    kv_blocks: int
    kv_tokens: int
    start_s: float
    wake_s: float


def find_architecture(model: str) -> Architecture:
    """A local folder or config.json, or a model of the catalogue."""
    path = Path(model)
    if path.is_dir() or path.is_file():
        return architecture_from_path(path)
    return builtin().model(model)


def loaded_architecture(options: ServeOptions) -> Architecture:
    """The model under the options' --runner and --speculative-config; LaunchError for what it cannot do."""
    found = find_architecture(options.model)
    if found.pooling and options.runner == "generate":
        raise LaunchError(
            "Embedding models do not support `--runner generate`. Use `--runner pooling` or `--runner auto` for embedding models."
        )
    if options.speculative_config is not None:
        try:
            return speculating(found, options.speculative_config, find_architecture)
        except SpeculationError as error:
            raise LaunchError(f"argument --speculative-config: {error}") from error
    return found.pooled() if options.runner == "pooling" else found


def engine_settings(options: ServeOptions, architecture: Architecture, gpu: GpuType) -> EngineSettings:
    """The options with vLLM's defaults for this model and GPU; LaunchError when the length is beyond the model's."""
    big = gpu.memory_usable_mib >= _BIG_GPU_MIB and not gpu.name.upper().startswith("A100")
    default_tokens = 16384 if gpu.memory_usable_mib >= _HUGE_GPU_MIB else 8192 if big else 2048
    max_model_len = options.max_model_len or architecture.max_position
    if max_model_len > architecture.max_position:
        raise LaunchError(
            f"ValidationError: User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len "
            f"(max_position_embeddings={architecture.max_position} in model's config.json)."
        )
    max_num_seqs = options.max_num_seqs or (1024 if big else 256)
    settings = EngineSettings(
        dtype=architecture.dtype if options.dtype == "auto" else _DTYPES.get(options.dtype, options.dtype),
        quantization=options.quantization,
        kv_cache_dtype=options.kv_cache_dtype,
        tensor_parallel_size=options.tensor_parallel_size,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens
        or max(default_tokens, max_num_seqs, max_model_len if architecture.pooling else 1),
        enforce_eager=options.enforce_eager,
        active_thread_percentage=mps_threads() or ALL_THREADS,
        max_loras=options.max_loras,
        max_lora_rank=options.max_lora_rank,
        # vLLM 0.32's default: two steps in flight need a larger pool where layers have sliding windows
        async_scheduling=True,
    )
    settings = settings_on(gpu, settings)
    return replace(settings, block_size=options.block_size or settings.block_size)


def check_free_memory(residence: Residence, utilization: float) -> int:
    """vLLM's first look at the GPU: total * utilization must be free. Returns that budget in MiB (of the smallest device)."""
    budgets_mib = []
    for place, (free_mib, total_mib) in enumerate(residence.memory()):
        wanted_mib = math.ceil(total_mib * utilization)
        if free_mib < wanted_mib:
            raise LaunchError(
                f"Free memory on device cuda:{place} ({free_mib / 1024:.2f}/{total_mib / 1024:.2f} GiB) on startup is less than desired "
                f"GPU memory utilization ({utilization}, {wanted_mib / 1024:.2f} GiB). Decrease GPU memory utilization or reduce GPU "
                "memory used by other processes."
            )
        budgets_mib.append(wanted_mib)
    return min(budgets_mib)


def measured() -> Measurements:
    """What the folder of ULLAGE_EMULATED_STORE holds, nothing where it is not set; StoreError when it cannot be read."""
    folder = os.environ.get(STORE_VARIABLE)
    return canonical(read_store(Path(folder)), builtin()) if folder else Measurements()


def prepare(options: ServeOptions, residence: Residence, measurements: Measurements) -> EmulatedEngine:
    """Size the engine on its devices. Raises LaunchError, or what the profiles say about a configuration that cannot run."""
    gpu = node_gpu_type(residence.node_dir, residence.gpu_type)
    architecture = loaded_architecture(options)
    settings = engine_settings(options, architecture, gpu)
    reason = quantization_reason(architecture, settings.quantization)
    if reason is not None:
        raise LaunchError(reason)
    mig = next((profile for profile in gpu.mig_profiles if profile.name == residence.mig_profile), None)
    budget_mib = check_free_memory(residence, options.gpu_memory_utilization)
    held = measured_constants(measurements, gpu, settings)
    constants = held.constants if held else None
    kv_bytes = options.kv_cache_memory_bytes if has_cache(architecture) else 0
    if kv_bytes is None:
        without_kv = memory_ledger(architecture, gpu, settings, 0, constants)
        kv_bytes = (budget_mib - without_kv.total_mib + without_kv.context_mib) * _MIB
    _check_steps(architecture, settings)
    if has_cache(architecture):
        _check_pool(architecture, settings, kv_bytes)
    return EmulatedEngine(
        architecture=architecture,
        settings=settings,
        # Without the limit on queued requests: vLLM's server keeps it, not its scheduler, and counts running requests too.
        core=engine_config(architecture, settings, kv_bytes, by_priority=options.by_priority),
        ledger=memory_ledger(architecture, gpu, settings, kv_bytes, constants),
        step_time=predict(architecture, gpu, settings, mig, measurements),
        kv_bytes=kv_bytes,
        # as vLLM says it of a model without a cache: one block
        kv_blocks=kv_blocks(architecture, settings, kv_bytes) if has_cache(architecture) else 1,
        kv_tokens=kv_pool_tokens(architecture, settings, kv_bytes) if has_cache(architecture) else 0,
        start_s=start_s(architecture, gpu, settings),
        wake_s=wake_s(architecture, gpu, settings),
    )


def _check_steps(architecture: Architecture, settings: EngineSettings) -> None:
    """A prompt that is pooled must be read in one step: vLLM reads them in parts only where the last token is pooled."""
    if architecture.pooling and settings.max_num_batched_tokens < settings.max_model_len:
        raise LaunchError(
            f"max_num_batched_tokens ({settings.max_num_batched_tokens}) is smaller than max_model_len ({settings.max_model_len}). This "
            "effectively limits the maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please "
            "increase max_num_batched_tokens or decrease max_model_len."
        )


def _check_pool(architecture: Architecture, settings: EngineSettings, kv_bytes: int) -> None:
    if kv_bytes <= 0:
        raise LaunchError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.")
    needed_bytes = min_kv_bytes(architecture, settings)
    if kv_bytes < needed_bytes:
        raise LaunchError(
            f"To serve at least one request with the model's max seq len ({settings.max_model_len}), ({needed_bytes / _GIB:.2f} GiB KV "
            f"cache is needed, which is larger than the available KV cache memory ({kv_bytes / _GIB:.2f} GiB). Try increasing "
            "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
        )
    blocks = largest_max_num_seqs(architecture, settings, kv_bytes)
    if blocks < settings.max_num_seqs:
        raise LaunchError(
            f"max_num_seqs ({settings.max_num_seqs}) exceeds available Mamba cache blocks ({blocks}). Each decode sequence requires one "
            "Mamba cache block, so CUDA graph capture cannot proceed. Please lower max_num_seqs or increase gpu_memory_utilization."
        )


def cache_config(options: ServeOptions, launch: EmulatedEngine) -> dict[str, str]:
    """Labels of vllm:cache_config_info, which carries the KV pool's size."""
    settings = launch.settings
    unset = (
        "cache_hit_alignment_tokens hash_block_size kv_cache_layout kv_offloading_size mamba_block_size mamba_page_size_padded "
        "num_cpu_blocks num_gpu_blocks_override prefix_match_unit skip_page_size_padded sliding_window"
    )
    return {
        **dict.fromkeys(unset.split(), "None"),
        **dict.fromkeys(("enable_mamba_shared_prefix_checkpoint", "is_attention_free", "kv_sharing_fast_prefill"), "False"),
        **dict.fromkeys(("use_kda_recoverssm", "use_replayssm", "user_specified_block_size"), "False"),
        **dict.fromkeys(("_block_size_resolved", "swa_bounded_replay"), "True"),
        "block_size": str(settings.block_size),
        "cache_dtype": settings.kv_cache_dtype,
        "effective_attention_block_size": str(settings.block_size),
        # The step core has no prefix cache.
        "enable_prefix_caching": "False",
        "gpu_memory_utilization": str(options.gpu_memory_utilization),
        "kv_cache_dtype_skip_layers": "[]",
        # an encoder, which has no pool, says None of all three
        "kv_cache_max_concurrency": str(launch.kv_tokens / settings.max_model_len if launch.kv_tokens else None),
        "kv_cache_memory_bytes": str(launch.kv_bytes or None),
        "kv_cache_size_tokens": str(launch.kv_tokens or None),
        "kv_offloading_backend": "native",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_ssm_cache_dtype": "auto",
        "num_gpu_blocks": str(launch.kv_blocks),
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "sha256",
        "replayssm_buffer_len": "16",
    }


def mps_threads() -> int | None:
    """Per cent of its GPU's threads where this process shares it by MPS, else None; LaunchError where it cannot."""
    try:
        return thread_percentage(os.environ)
    except MpsError as error:
        raise LaunchError(str(error)) from error


def node_folder() -> Path:
    """The emulated node this process runs on."""
    folder = os.environ.get("ULLAGE_EMULATED_NODE")
    if not folder:
        raise LaunchError("ULLAGE_EMULATED_NODE is not set: it names the folder of the emulated node whose GPUs the engine uses")
    return Path(folder)
