"""How long an engine takes to start and to wake up."""

from __future__ import annotations

from profiles.gpu_types import GpuType
from profiles.memory.ledger import weight_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.support import check_supported

_GIB = 1 << 30

# All but the wake-up: 31 start-ups of vLLM 0.19 on H100 hosts (llm-d-planner pull request 205, Apache-2.0; tests/profiles/fixtures).
# Weights arrive at 1.04 GiB/s per rank in the median; 5 of 31 were slower than 0.5.
_LOAD_GIB_PER_S = 1.0
# Interpreter, imports, CUDA context, configuration and tokenizer before the first weight: 18 - 51 s, half of them below 21 s; the HTTP
# server after the last graph: 2 - 15 s.
_PROCESS_S = 30.0
# Profiling run, KV cache and warm-up without compilation and graphs: 7.6 s in the median, 11 s at most.
_PROFILING_S = 8.0
# Compilation without a warm cache: 0.26 - 0.44 s per layer but for one multimodal model (0.59).
_COMPILE_LAYER_S = 0.44
# Capturing CUDA graphs: 3 - 5 s for 24 of 27 dense models, 10 - 42 s for mixtures of experts.
_GRAPHS_S = 5.0
_GRAPHS_EXPERTS_S = 42.0
# Level-1 wake-up copies weights from pinned host memory: vLLM's sleep-mode measurements give 0.3 - 6 s, that is about half of the PCIe
# rate, plus a fixed part for re-mapping memory.
_WAKE_PCIE_EFFICIENCY = 0.5
_WAKE_FIXED_S = 0.3


def start_s(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> float:
    """Seconds from launching a server until it is ready: process, weights at 1 GiB/s per rank, compilation, CUDA graphs, profiling.

    A typical start with local weights and nothing compiled before. Slow storage, downloads and starts beside it (starts on one GPU are
    serial) come on top. UnsupportedError when vLLM could not run it.
    """
    check_supported(architecture, gpu, settings)
    process_s = gpu.engine.process_s if gpu.engine else _PROCESS_S
    seconds = process_s + _PROFILING_S + weight_bytes(architecture, settings) / _GIB / _LOAD_GIB_PER_S
    if settings.enforce_eager:
        return seconds
    return seconds + _COMPILE_LAYER_S * architecture.layers + (_GRAPHS_S if architecture.experts is None else _GRAPHS_EXPERTS_S)


def wake_s(architecture: Architecture, gpu: GpuType, settings: EngineSettings) -> float:
    """Seconds to wake an engine that sleeps at level 1 (weights in pinned host memory), alone on its link."""
    check_supported(architecture, gpu, settings)
    return _WAKE_FIXED_S + weight_bytes(architecture, settings) / (gpu.pcie_gb_per_s * 1e9 * _WAKE_PCIE_EFFICIENCY)
