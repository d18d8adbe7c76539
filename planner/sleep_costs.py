"""What a replica takes while it sleeps, and how long it takes to fall asleep and to wake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from planner.plan import Ledger, NodePlan, Replica, SleepLevel
from profiles.gpu_types import GpuType
from profiles.memory.host import host_needs

# What an engine that sleeps still holds of each of its GPUs: 1 - 2 GiB in vLLM's sleep-mode measurements; the most of them.
RESIDUE_MIB = 2048

# Weights between pinned host memory and GPU at level 1: half of the rate of PCIe 3.0 x16, or of a slower link. vLLM measured wakes of
# 0.3 - 6 s.
_LINK_GB_PER_S = 16.0
_COPY_FRACTION = 0.5
# Weights read again from local storage at level 2: 1 GiB/s per rank, the median of logged start-ups (profiles.memory.lifecycle).
_READ_MIB_PER_S = 1024.0
# Mapping of memory: the shortest wake that vLLM measured.
_FIXED_S = 0.3


def slow_link_gb_per_s(gpu: GpuType) -> float | None:
    """The speed of a GPU's link to its host where it is slower than what sleeping counts with."""
    return gpu.pcie_gb_per_s if gpu.pcie_gb_per_s < _LINK_GB_PER_S else None


def _copy_mib_per_s(replica: Replica) -> float:
    return _COPY_FRACTION * (replica.slow_link_gb_per_s or _LINK_GB_PER_S) * 1e9 / (1 << 20)


def asleep_mib(replica: Replica) -> int:
    """MiB of each of its GPUs that it holds while it sleeps: its CUDA context and graphs stay, and no less than RESIDUE_MIB is counted."""
    ledger = replica.ledger
    return min(ledger.total_mib, max(RESIDUE_MIB, ledger.context_mib + ledger.cuda_graphs_mib))


def as_asleep(replica: Replica) -> Replica:
    """The replica with what it holds of its GPUs while it sleeps, none of it weights or KV cache."""
    held_mib = asleep_mib(replica)
    nothing = dict.fromkeys(("weights_mib", "activation_mib", "cuda_graphs_mib", "kv_mib"), 0)
    ledger = Ledger(**nothing, context_mib=held_mib, total_mib=held_mib, start_peak_mib=held_mib)
    return replica.model_copy(update={"ledger": ledger, "kv_floor_mib": None})


def asleep_host_mib(replica: Replica, level: SleepLevel) -> int:
    """MiB of host memory that its weights take while it sleeps, over all its GPUs."""
    return replica.ledger.weights_mib * len(replica.gpus) if level == 1 else 0


@dataclass(frozen=True, slots=True)
class NumaMemory:
    """A NUMA node of a machine: MiB that its engines need, of which so many for weights that sleep, and what it has."""

    needs_mib: float
    weights_mib: int
    has_mib: int


def numa_memory(node: NodePlan, here: Iterable[Replica], levels: Mapping[str, SleepLevel]) -> tuple[NumaMemory, ...]:
    """The NUMA nodes of a machine with those replicas on it, of which some sleep; weights lie in the part of their GPUs."""
    engines_mib, weights_mib = [0.0] * node.numa_nodes, [0] * node.numa_nodes
    for replica in here:
        own_mib = host_needs(len(replica.gpus))[1] / len(replica.gpus)
        kept_mib = asleep_host_mib(replica, levels[replica.name]) // len(replica.gpus) if replica.name in levels else 0
        for gpu in replica.gpus:
            part = min(gpu, node.gpu_count - 1) * node.numa_nodes // node.gpu_count
            engines_mib[part] += own_mib
            weights_mib[part] += kept_mib
    has_mib = node.host_memory_mib // node.numa_nodes
    return tuple(NumaMemory(own + kept, kept, has_mib) for own, kept in zip(engines_mib, weights_mib, strict=True))


def sleep_s(replica: Replica, level: SleepLevel) -> float:
    """Seconds until it sleeps, drained before; its GPUs copy at once."""
    return _FIXED_S + (replica.ledger.weights_mib / _copy_mib_per_s(replica) if level == 1 else 0.0)


def wake_s(replica: Replica, level: SleepLevel) -> float:
    """Seconds from there until it makes a token; its GPUs load at once."""
    copied = _copy_mib_per_s(replica)
    # what is read from storage goes over the same link
    return _FIXED_S + replica.ledger.weights_mib / (copied if level == 1 else min(copied, _READ_MIB_PER_S))
