"""Whether vLLM can run a model with given settings on a given GPU type at all."""

from __future__ import annotations

from collections.abc import Iterator

from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.precision import BFLOAT16_COMPUTE_CAPABILITY, FP8_KV_COMPUTE_CAPABILITY, compute_capability, dtype_name, weight_format
from profiles.settings import EngineSettings, UnsupportedError

# vLLM pads the vocabulary to a multiple of this before it divides it over the ranks
# (DEFAULT_VOCAB_PADDING_SIZE in vllm/model_executor/layers/vocab_parallel_embedding.py).
VOCAB_PADDING = 64


def padded_vocab(architecture: Architecture) -> int:
    """Rows of the embedding as vLLM stores it."""
    return -(-architecture.vocab // VOCAB_PADDING) * VOCAB_PADDING


def check_supported(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> None:
    """Return when vLLM can run this; otherwise raise UnsupportedError that names every reason with its numbers."""
    reasons = [
        *_division_problems(architecture, settings),
        *_limit_problems(architecture, settings),
        *_gpu_problems(architecture, gpu, settings),
    ]
    if reasons:
        raise UnsupportedError(f"{architecture.name} on {gpu.name}: " + "; ".join(reasons))


def _division_problems(architecture: Architecture, settings: EngineSettings) -> Iterator[str]:
    size = settings.tensor_parallel_size
    stages = settings.pipeline_parallel_size
    if not 1 <= stages <= architecture.layers:
        yield f"pipeline_parallel_size is {stages}, it must be between 1 and the number of layers {architecture.layers}"
    if size < 1:
        yield f"tensor_parallel_size is {size}, it must be at least 1"
        return
    for what, count in _divided(architecture):
        if count % size:
            yield f"tensor_parallel_size {size} does not divide {what} {count}"
    kv_heads = architecture.kv_heads
    if architecture.mla is None and max(kv_heads, size) % min(kv_heads, size):
        yield f"tensor_parallel_size {size} neither divides nor is a multiple of the {kv_heads} KV heads"
    global_heads = architecture.full_heads.kv_heads
    if architecture.global_layers is not None and max(global_heads, size) % min(global_heads, size):
        yield f"tensor_parallel_size {size} neither divides nor is a multiple of the {global_heads} KV heads of the global layers"


def _divided(architecture: Architecture) -> Iterator[tuple[str, int]]:
    yield "the number of attention heads", architecture.heads
    yield f"the vocabulary padded to a multiple of {VOCAB_PADDING},", padded_vocab(architecture)
    experts = architecture.experts
    if experts is None or experts.layers < architecture.layers:
        yield "the MLP width", architecture.intermediate
    if experts is not None:
        yield "the expert width", experts.intermediate


def _limit_problems(architecture: Architecture, settings: EngineSettings) -> Iterator[str]:
    for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size"):
        if getattr(settings, name) < 1:
            yield f"{name} is {getattr(settings, name)}, it must be at least 1"
    if settings.max_model_len > architecture.max_position:
        yield f"max_model_len {settings.max_model_len} exceeds the model's {architecture.max_position} positions"
    # vllm/config/scheduler.py refuses fewer batched tokens than sequences.
    if settings.max_num_batched_tokens < settings.max_num_seqs:
        yield f"max_num_batched_tokens {settings.max_num_batched_tokens} is below max_num_seqs {settings.max_num_seqs}"


def _gpu_problems(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> Iterator[str]:
    capability = compute_capability(gpu)
    form = weight_format(architecture, settings)
    if dtype_name(architecture, settings) == "bfloat16" and capability < BFLOAT16_COMPUTE_CAPABILITY:
        yield f"bfloat16 needs compute capability {BFLOAT16_COMPUTE_CAPABILITY}, the GPU has {capability}; use dtype float16"
    if form is not None and capability < form.compute_capability:
        name = settings.quantization or architecture.checkpoint_quant
        yield f"{name} weights need compute capability {form.compute_capability}, the GPU has {capability}"
    if settings.kv_cache_dtype == "fp8_ds_mla" and architecture.indexer is None:
        yield "kv_cache_dtype fp8_ds_mla is for sparse attention (DeepSeek-V3.2) alone; use fp8"
    # Ada has instructions for it; Ampere converts in software, on backends that support it (profiles.memory.caveats says so).
    needed = FP8_KV_COMPUTE_CAPABILITY if settings.kv_cache_dtype.startswith("fp8") else 0.0
    if capability < needed:
        yield f"kv_cache_dtype {settings.kv_cache_dtype} needs compute capability {needed}, the GPU has {capability}"
