"""Memory of one vLLM engine per GPU, line by line.

Weights, activations and the constants of an engine version come from the modules weights, activation and engine_constants beside it.
`python -m benchmarks.memory FILE.csv` states the error against logged starts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from profiles.gpu_types import GpuType
from profiles.memory.activation import activation_bytes
from profiles.memory.engine_constants import EngineConstants, constants_for
from profiles.memory.weights import stage_weight_bytes, weight_bytes, whole_weight_bytes
from profiles.models import Architecture
from profiles.pipeline import Stage, stages
from profiles.precision import dtype_bytes
from profiles.settings import EngineSettings
from profiles.speculation import draft_settings
from profiles.support import check_supported, padded_vocab

__all__ = ["MemoryLedger", "MemoryParts", "kv_pool_bytes", "ledger_of", "memory_ledger", "memory_parts", "stage_parts", "weight_bytes"]

_MIB = 1 << 20
# Graphs are captured for batches of 1, 2, 4, every 8th size to 256 and every 16th to twice max_num_seqs, at most 512 (vllm/config/vllm.py,
# 0.19: 51 sizes), once for mixed steps and once for decode steps.
_LARGEST_GRAPH_TOKENS = 512
_GRAPH_SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, _LARGEST_GRAPH_TOKENS + 1, 16))
_ALL_GRAPHS = 2 * len(_GRAPH_SIZES)


@dataclass(frozen=True, slots=True)
class MemoryParts:
    """Expected bytes per GPU of one pipeline stage. spread is how far what lies outside PyTorch's pool has been above its usual size.

    graphs is an upper value of what graphs take, graphs_estimate what the engine's profiler expects of them; load_peak is what loading
    takes beside the weights for a while.
    """

    weights_bytes: float
    activation_bytes: float
    non_torch_bytes: float
    spread_bytes: float
    graphs_bytes: float
    graphs_estimate_bytes: float
    context_bytes: float
    load_peak_bytes: float


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    """Memory of one engine on each of its GPUs in MiB, each line rounded up; of a pipeline, the stage that takes the most.

    weights, activation (with what is allocated outside PyTorch's pool during a forward pass), CUDA graphs and KV pool lie inside vLLM's
    gpu-memory-utilization budget, context (CUDA context and NCCL buffers) outside. asleep_mib is what stays while the engine sleeps and is
    no part of the total. start_peak_mib is the most it takes at once while it starts, at least the total.
    """

    weights_mib: int
    activation_mib: int
    cuda_graphs_mib: int
    context_mib: int
    kv_mib: int
    asleep_mib: int
    start_peak_mib: int

    @property
    def total_mib(self) -> int:
        """MiB per GPU of the awake engine."""
        return self.weights_mib + self.activation_mib + self.cuda_graphs_mib + self.context_mib + self.kv_mib


def memory_ledger(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    kv_bytes: int,
    constants: EngineConstants | None = None,
    checkpoint_bytes: float | None = None,
) -> MemoryLedger:
    """The ledger of one engine with a KV pool of kv_bytes per GPU; UnsupportedError when vLLM could not run it.

    constants None takes those of the settings' engine version. checkpoint_bytes are the weights of the checkpoint's files as they are
    loaded (profiles.checkpoints.safetensors); None takes the weights from the model's dimensions.
    """
    return ledger_of(stage_parts(architecture, gpu, settings, constants, checkpoint_bytes), kv_bytes)


def ledger_of(stages_parts: tuple[MemoryParts, ...], kv_bytes: int) -> MemoryLedger:
    """The ledger of an engine whose stages take so much beside a KV pool of kv_bytes per GPU: that of the stage that takes the most."""
    return max((_ledger(parts, kv_bytes) for parts in stages_parts), key=lambda ledger: ledger.total_mib)


def _ledger(parts: MemoryParts, kv_bytes: int) -> MemoryLedger:
    non_torch_bytes = parts.non_torch_bytes + parts.spread_bytes
    lines = (
        _mib(parts.weights_bytes),
        _mib(parts.activation_bytes + non_torch_bytes),
        _mib(parts.graphs_bytes),
        _mib(parts.context_bytes),
        _mib(kv_bytes),
    )
    loading_mib = _mib(parts.context_bytes + parts.weights_bytes + parts.load_peak_bytes)
    # Sleep frees the KV pool and moves the weights out; context, NCCL and graphs stay: 1 - 2 GiB in vLLM's sleep-mode measurements.
    asleep_mib = _mib(parts.context_bytes + non_torch_bytes + parts.graphs_bytes)
    return MemoryLedger(*lines, asleep_mib=asleep_mib, start_peak_mib=max(sum(lines), loading_mib))


def _mib(size_bytes: float) -> int:
    return math.ceil(size_bytes / _MIB)


def memory_parts(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    constants: EngineConstants | None = None,
    checkpoint_bytes: float | None = None,
) -> MemoryParts:
    """Expected bytes per GPU of the pipeline stage that leaves the least for the KV pool; arguments and errors as memory_ledger."""
    return max(stage_parts(architecture, gpu, settings, constants, checkpoint_bytes), key=_inside_bytes)


def _inside_bytes(parts: MemoryParts) -> float:
    return parts.weights_bytes + parts.activation_bytes + parts.non_torch_bytes


def stage_parts(
    architecture: Architecture,
    gpu: GpuType,
    settings: EngineSettings,
    constants: EngineConstants | None = None,
    checkpoint_bytes: float | None = None,
) -> tuple[MemoryParts, ...]:
    """Expected bytes per GPU of every pipeline stage; arguments and errors as memory_ledger."""
    held = constants or constants_for(settings.engine_version)
    return _all_parts(architecture, gpu, settings, held, checkpoint_bytes)


# A ledger is asked for with every KV size that one engine may have.
@lru_cache(maxsize=256)
def _all_parts(
    architecture: Architecture, gpu: GpuType, settings: EngineSettings, constants: EngineConstants, checkpoint_bytes: float | None
) -> tuple[MemoryParts, ...]:
    check_supported(architecture, gpu, settings)
    if architecture.draft is not None:
        check_supported(architecture.draft, gpu, draft_settings(architecture.draft, settings))
    scale = 1.0 if checkpoint_bytes is None else checkpoint_bytes / whole_weight_bytes(architecture, settings)
    return tuple(_stage_parts(architecture, gpu, settings, constants, scale))


def _stage_parts(
    architecture: Architecture, gpu: GpuType, settings: EngineSettings, constants: EngineConstants, weights_scale: float
) -> Iterator[MemoryParts]:
    for stage in stages(architecture, settings):
        yield MemoryParts(
            weights_bytes=stage_weight_bytes(architecture, settings, stage, weights_scale) + _draft_bytes(architecture, settings),
            activation_bytes=activation_bytes(architecture, gpu, settings, stage, constants),
            non_torch_bytes=constants.non_torch.of_mib(settings) * _MIB,
            spread_bytes=constants.non_torch_spread.of_mib(settings) * _MIB,
            graphs_bytes=_graphs_mib(architecture, settings, stage, constants) * _MIB,
            graphs_estimate_bytes=_graphs_estimate_mib(architecture, settings, constants) * _MIB,
            context_bytes=(gpu.engine.context_mib if gpu.engine else constants.context.of_mib(settings)) * _MIB,
            # Loading holds the embedding twice for a while: 1.30 GiB (gemma-3-4b) and 0.44 (granite-3.1-8b) logged, 1.25 and 0.38 by size.
            load_peak_bytes=padded_vocab(architecture) * architecture.hidden * dtype_bytes(architecture, settings),
        )


def _draft_bytes(architecture: Architecture, settings: EngineSettings) -> float:
    """Weights of a draft model, which comes in its own format and is divided over the same ranks; every stage counts as the one with it."""
    draft = architecture.draft
    return weight_bytes(draft, draft_settings(draft, settings)) if draft else 0.0


def kv_pool_bytes(parts: MemoryParts, total_bytes: float, utilization_fraction: float, constants: EngineConstants) -> float:
    """Bytes per GPU that vLLM finds for the KV pool when it profiles with this gpu-memory-utilization; below 0: it does not start."""
    inside_bytes = _inside_bytes(parts) + (parts.graphs_estimate_bytes if constants.graphs_inside_budget else 0)
    return total_bytes * utilization_fraction - inside_bytes


def _graphs_mib(architecture: Architecture, settings: EngineSettings, stage: Stage, constants: EngineConstants) -> float:
    """An upper value: a fixed part, and one per layer that shrinks with the number of graphs."""
    if settings.enforce_eager:
        return 0.0
    layers = stage.layers + (architecture.draft.layers if architecture.draft else 0)
    graphs_mib = constants.graphs_per_layer_mib * layers + (constants.graphs_experts_mib if architecture.experts else 0)
    count = graph_count(settings, architecture.tokens_per_decode)
    return constants.graphs_fixed_mib + graphs_mib * count / _ALL_GRAPHS


def _graphs_estimate_mib(architecture: Architecture, settings: EngineSettings, constants: EngineConstants) -> float:
    if settings.enforce_eager:
        return 0.0
    count = graph_count(settings, architecture.tokens_per_decode)
    return constants.graphs_estimate_first_mib + constants.graphs_estimate_each_mib * (count - 2)


def graph_count(settings: EngineSettings, tokens_per_decode: int = 1) -> int:
    """CUDA graphs that are captured with these settings: batch sizes of mixed steps, and those that decode steps can have."""
    decoding = settings.max_num_seqs * tokens_per_decode
    largest = min(2 * decoding, _LARGEST_GRAPH_TOKENS, settings.max_num_batched_tokens)
    return bisect_right(_GRAPH_SIZES, largest) + bisect_right(_GRAPH_SIZES, min(largest, decoding))
