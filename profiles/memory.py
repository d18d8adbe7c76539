"""Memory of one vLLM engine per GPU, line by line.

Activations follow the formula fitted on 56 start-ups of vLLM 0.17 - 0.19 on H100 (llm-d-planner pull request 205, Apache-2.0). On the 30
starts in tests/profiles/fixtures the ledger predicts the KV pool that vLLM would profile; tests/profiles/test_memory.py states the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiles.gpus import GpuType
from profiles.models import Architecture
from profiles.precision import WeightFormat, dtype_bytes, weight_format
from profiles.settings import EngineSettings
from profiles.support import check_supported, padded_vocab

_MIB = 1 << 20
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    """Memory of one engine on each of its GPUs in MiB, each line rounded up.

    weights, activation (with what is allocated outside PyTorch's pool during a forward pass), CUDA graphs and KV pool lie inside vLLM's
    gpu-memory-utilization budget, context (CUDA context and NCCL buffers) outside. asleep_mib is what stays while the engine sleeps and is
    no part of the total.
    """

    weights_mib: int
    activation_mib: int
    cuda_graphs_mib: int
    context_mib: int
    kv_mib: int
    asleep_mib: int

    @property
    def total_mib(self) -> int:
        """MiB per GPU of the awake engine."""
        return self.weights_mib + self.activation_mib + self.cuda_graphs_mib + self.context_mib + self.kv_mib


def memory_ledger(architecture: Architecture, gpu: GpuType, settings: EngineSettings, kv_bytes: int) -> MemoryLedger:
    """The ledger of one engine with a KV pool of kv_bytes per GPU; UnsupportedError when vLLM could not run it."""
    check_supported(architecture, gpu, settings)
    non_torch_bytes = _non_torch_bytes(settings)
    graphs_bytes = _cuda_graph_bytes(architecture, settings)
    context_bytes = _context_bytes(settings)
    return MemoryLedger(
        weights_mib=_mib(weight_bytes(architecture, settings)),
        activation_mib=_mib(activation_bytes(architecture, settings) + non_torch_bytes),
        cuda_graphs_mib=_mib(graphs_bytes),
        context_mib=_mib(context_bytes),
        kv_mib=_mib(kv_bytes),
        # Sleep frees the KV pool and moves the weights out; context, NCCL and graphs stay: 1 - 2 GiB in vLLM's sleep-mode measurements.
        asleep_mib=_mib(context_bytes + non_torch_bytes + graphs_bytes),
    )


def _mib(size_bytes: float) -> int:
    return math.ceil(size_bytes / _MIB)


def weight_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    """Bytes of weights per GPU.

    Blocks and embeddings are divided over the ranks; norms, the vision tower, latent down-projections and KV heads beyond one per rank
    are held by every rank. Quantised formats cover what Architecture.quant_scope says, embeddings never.
    """
    size = settings.tensor_parallel_size
    plain_bytes = dtype_bytes(architecture, settings)
    form = weight_format(architecture, settings)
    linear_bytes = expert_bytes = float(plain_bytes)
    if form is not None:
        expert_bytes = form.bytes_per_parameter * _expert_padding(architecture, form, size)
        linear_bytes = plain_bytes if architecture.quant_scope == "experts" else form.bytes_per_parameter
    linear = architecture.attention_parameters + architecture.dense_mlp_parameters
    embedding = padded_vocab(architecture) * architecture.hidden * (1 if architecture.tie_embeddings else 2)
    divided = linear * linear_bytes + architecture.expert_parameters * expert_bytes + embedding * plain_bytes
    whole = (architecture.norm_parameters + architecture.vision_parameters) * plain_bytes
    return divided / size + whole + _replicated_parameters(architecture, size) * linear_bytes


def _expert_padding(architecture: Architecture, form: WeightFormat, size: int) -> float:
    """Stored over nominal size of the routed experts, whose two widths the kernels may round up."""
    if architecture.experts is None:
        return 1.0
    multiple = form.expert_width_multiple
    widths = (architecture.hidden, architecture.experts.intermediate / size)
    return math.prod(math.ceil(width / multiple) * multiple / width for width in widths)


def _replicated_parameters(architecture: Architecture, size: int) -> float:
    """Parameters per rank beyond an even division of the attention weights."""
    if architecture.mla is not None:
        # Down-projections of MLA are whole on every rank (ReplicatedLinear in vllm/model_executor/models/deepseek_v2.py).
        latent = architecture.mla.kv_lora_rank + architecture.mla.qk_rope_head_dim + (architecture.mla.q_lora_rank or 0)
        return architecture.layers * architecture.hidden * latent * (1 - 1 / size)
    heads_beyond = max(1 - architecture.kv_heads / size, 0)
    return 2 * architecture.layers * architecture.hidden * architecture.head_dim * heads_beyond


def activation_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    """Peak bytes of PyTorch's pool beyond weights and KV cache per GPU.

    max(14 B * max_num_seqs * vocab, T * (3 I / tp + 4 H) elements) + 2.7 T H elements, and 0.5 GiB for mixture-of-experts models, with T
    max_num_batched_tokens, I the MLP width and H the hidden size. The first term is the sampler's warm-up. Source: see the module.
    """
    element_bytes = dtype_bytes(architecture, settings)
    tokens, hidden = settings.max_num_batched_tokens, architecture.hidden
    sampler_bytes = 14 * settings.max_num_seqs * architecture.vocab
    mlp_bytes = tokens * (3 * architecture.intermediate / settings.tensor_parallel_size + 4 * hidden) * element_bytes
    experts_bytes = 0.5 * _GIB if architecture.experts is not None else 0
    return max(sampler_bytes, mlp_bytes) + 2.7 * tokens * hidden * element_bytes + experts_bytes


def _non_torch_bytes(settings: EngineSettings) -> float:
    # Logged on H100, vLLM 0.19 (fixture): 0.24 - 0.46 GiB on one GPU, 2.06 - 2.07 GiB with tensor parallelism.
    return (0.46 if settings.tensor_parallel_size == 1 else 2.07) * _GIB


def _context_bytes(settings: EngineSettings) -> float:
    # Used before loading, same logs: 0.51 GiB on one GPU, 1.53 - 2.01 GiB with tensor parallelism (2.1 in the longer log set).
    return (0.51 if settings.tensor_parallel_size == 1 else 2.1) * _GIB


def _cuda_graph_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    if settings.enforce_eager:
        return 0.0
    # Logged: 0.65 - 1.10 GiB for dense models of 26 - 42 layers, 1.10 and 1.84 GiB for two MoE models of 24 layers. The line
    # 0.3 + 0.022 * layers (+ 1.05 for MoE) lies above every logged value, and gives 0.83 GiB for the 24 layers of a 0.5B model.
    per_model_gib = 0.3 + (1.05 if architecture.experts is not None else 0.0)
    return (per_model_gib + 0.022 * architecture.layers) * _GIB
