"""Number formats: bytes of an element of weights, activations and KV cache, and what a GPU can multiply."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.gpu_types import GpuType
from profiles.models import DTYPE_BYTES, Architecture
from profiles.settings import EngineSettings, UnsupportedError

# Other spellings that `vllm serve --dtype` takes (vllm/config/model.py, 0.32).
_DTYPE_NAMES = {"half": "float16", "float": "float32"}

# `vllm serve --kv-cache-dtype` values with plain per-token pages and their bytes per element (vllm/utils/torch_utils.py, 0.32).
_KV_BYTES = {"bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1, "fp8_ds_mla": 1}


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """Storage of quantised weights: bytes per parameter with scales, and least compute capability.

    From product_capability on, products with them run at product_rate_fraction times the GPU's fp8 rate; below it, and where it is None,
    as 16-bit ones.

    Kernels round an expert's own width up to a multiple of expert_inner_multiple and the hidden width to one of expert_hidden_multiple.
    own_expert_kernels: the experts' kernels allocate no workspaces that outlive them.
    """

    bytes_per_parameter: float
    compute_capability: float
    product_capability: float | None = None
    product_rate_fraction: float = 1.0
    expert_inner_multiple: int = 1
    expert_hidden_multiple: int = 1
    own_expert_kernels: bool = False


# First compute capabilities with fp8 (Ada Lovelace; docs.vllm.ai v0.32.0, features/quantization/llm_compressor/fp8) and fp4 tensor cores
# (Blackwell, CUDA programming guide).
FP8_COMPUTE_CAPABILITY = 8.9
_FP4_COMPUTE_CAPABILITY = 10.0
# First compute capability on which vLLM keeps the KV cache in fp8 (A100; docs.vllm.ai v0.32.0, features/quantization/quantized_kvcache).
FP8_KV_COMPUTE_CAPABILITY = 8.0
# Bytes: element bits plus scales. fp8: one float32 scale per 128x128 block (DeepSeek-V3, arXiv 2412.19437, section 3.3).
# awq, gptq, int4: a 16-bit scale and a 4-bit zero point per group of 128. nvfp4: an 8-bit scale per 16; mxfp4: per 32 (OCP MX 1.0).
# Expert widths: mxfp4_round_up_hidden_size_and_intermediate_size in vllm/model_executor/layers/fused_moe/oracle/mxfp4.py (0.32);
# gpt-oss-20b logs 13.64 GiB and, as two halves, 7.01 each; its activations have no workspace on top.
# Compute capabilities: docs.vllm.ai v0.32.0, features/quantization. fp8 below 8.9, and fp4 below 10, run as weight-only Marlin kernels
# with 16-bit products. NVIDIA's Blackwell data sheets give dense fp4 twice the fp8 rate or more; vLLM multiplies mxfp4 weights with 8-bit
# activations, at the fp8 rate.
WEIGHT_FORMATS = {
    "fp8": WeightFormat(1.0 + 4 / 16384, 7.5, FP8_COMPUTE_CAPABILITY),
    "int8": WeightFormat(1.0 + 2 / 128, 7.5),
    "int4": WeightFormat(0.5 + 2.5 / 128, 8.0),
    "awq": WeightFormat(0.5 + 2.5 / 128, 7.5),
    "gptq": WeightFormat(0.5 + 2.5 / 128, 7.5),
    "nvfp4": WeightFormat(0.5 + 1 / 16, 8.0, _FP4_COMPUTE_CAPABILITY, product_rate_fraction=2.0),
    "mxfp4": WeightFormat(
        0.5 + 1 / 32,
        8.0,
        _FP4_COMPUTE_CAPABILITY,
        expert_inner_multiple=128,
        expert_hidden_multiple=256,
        own_expert_kernels=True,
    ),
}
# First compute capability with bfloat16 (Ampere; vllm/platforms/cuda.py, 0.32).
BFLOAT16_COMPUTE_CAPABILITY = 8.0


def dtype_name(architecture: Architecture, settings: EngineSettings) -> str:
    """The element type of unquantised weights and activations; UnsupportedError for one that vLLM does not take."""
    name = architecture.dtype if settings.dtype == "auto" else _DTYPE_NAMES.get(settings.dtype, settings.dtype)
    if name not in DTYPE_BYTES:
        raise UnsupportedError(
            f"{architecture.name}: dtype {settings.dtype!r} is not supported; use auto or one of {', '.join(DTYPE_BYTES)}"
        )
    return name


def dtype_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes of one unquantised element."""
    return DTYPE_BYTES[dtype_name(architecture, settings)]


def weight_format(architecture: Architecture, settings: EngineSettings) -> WeightFormat | None:
    """Format of the quantised weights, None when there are none.

    settings.quantization None means the checkpoint's own. Asking a quantised checkpoint for another format is an error, as in vLLM. Of
    an unquantised checkpoint vLLM makes fp8 while loading; for any other format the checkpoint that is served must come in it.
    """
    own, asked = architecture.checkpoint_quant, settings.quantization
    if own is not None and asked is not None and own != asked:
        raise UnsupportedError(f"{architecture.name}: the checkpoint is quantised as {own}, quantization {asked!r} cannot be applied to it")
    name = asked or own
    if name is None:
        return None
    if name not in WEIGHT_FORMATS:
        raise UnsupportedError(
            f"{architecture.name}: quantization {name!r} is not supported; use one of {', '.join(sorted(WEIGHT_FORMATS))}"
        )
    return WEIGHT_FORMATS[name]


# Formats that `vllm serve --quantization` names (vllm/model_executor/layers/quantization, 0.32); others it finds in checkpoints.
_ASKED_FORMATS = ("awq", "fp8", "gptq", "mxfp4")


def quantization_reason(architecture: Architecture, quantization: str | None) -> str | None:
    """Why vLLM does not serve this checkpoint under `--quantization`; None when it does.

    vLLM makes fp8 of an unquantised checkpoint while it loads it. Every other format must be the checkpoint's own.
    """
    own, known = architecture.checkpoint_quant, ", ".join(_ASKED_FORMATS)
    if quantization is None or (quantization in _ASKED_FORMATS and own == quantization) or (own is None and quantization == "fp8"):
        return None
    if quantization not in WEIGHT_FORMATS:
        return f"vLLM has no quantization {quantization!r} that can be planned (known: {known})"
    if own is None:
        return (
            f"{architecture.name} is not quantised, so vLLM would find no configuration of {quantization!r} in it; name a checkpoint that "
            "comes in that format as source, or take fp8, which is made while loading"
        )
    if own == quantization:
        return (
            f"vLLM has no --quantization {quantization!r} (known: {known}); leave it out: {architecture.name} is taken as the {own} it is"
        )
    return f"{architecture.name} comes as {own}, so it cannot be served as {quantization!r}; leave quantization out or name another source"


def kv_element_bytes(architecture: Architecture, settings: EngineSettings) -> int:
    """Bytes of one element of the KV cache; "auto" takes the dtype of the activations."""
    if settings.kv_cache_dtype == "auto":
        return dtype_bytes(architecture, settings)
    if settings.kv_cache_dtype not in _KV_BYTES:
        known = ", ".join(_KV_BYTES)
        raise UnsupportedError(
            f"{architecture.name}: kv_cache_dtype {settings.kv_cache_dtype!r} is not supported; use auto or one of {known}"
        )
    return _KV_BYTES[settings.kv_cache_dtype]


def compute_capability(gpu: GpuType) -> float:
    """The GPU's compute capability as a number: "9.0" is 9.0."""
    return float(gpu.compute_capability)


def product_tflops(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> float:
    """Dense peak TFLOP/s of the GPU for products with these weights."""
    form = weight_format(architecture, settings)
    least = form.product_capability if form is not None else None
    if form is not None and least is not None and compute_capability(gpu) >= least and gpu.fp8_tflops is not None:
        return gpu.fp8_tflops * form.product_rate_fraction
    # 32-bit floats multiply as TF32, at half the rate of bfloat16 (NVIDIA A100 and H100 data sheets).
    return gpu.bf16_tflops / (2.0 if dtype_name(architecture, settings) == "float32" else 1.0)
