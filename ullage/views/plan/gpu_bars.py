"""What fills the memory of each GPU of a plan, with GPUs that are alike in one bar where there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planner.plan import Desired, GpuPlan
from ullage.views.words import MIB_PER_GIB, MODE_WORDS

MOST_BARS = 60


@dataclass(frozen=True, slots=True)
class GpuBar:
    """The memory of a GPU in GiB, or the mean of count alike ones. The parts make up the whole: taken is what others hold."""

    label: str
    count: int
    weights_gib: float
    kv_gib: float
    overhead_gib: float
    taken_gib: float
    free_gib: float


def gpu_bars(desired: Desired) -> tuple[GpuBar, ...]:
    """One bar per GPU in the plan's order; where there are more than MOST_BARS, one per pool and set of models, else per pool and use."""
    if len(desired.gpus) <= MOST_BARS:
        return tuple(_bar(f"{gpu.node} GPU {gpu.index}", [gpu]) for gpu in desired.gpus)
    models = {replica.name: replica.served_name for replica in desired.replicas}

    def by_models(gpu: GpuPlan) -> str:
        counts = Counter(models[name] for name in gpu.replicas)
        names = [name if count == 1 else f"{count} x {name}" for name, count in sorted(counts.items())]
        return f"{gpu.pool}: {' + '.join(names) or 'free'}"

    found = _grouped(desired.gpus, by_models)
    return found if len(found) <= MOST_BARS else _grouped(desired.gpus, lambda gpu: f"{gpu.pool}: {MODE_WORDS[gpu.mode]}")


def _grouped(gpus: Sequence[GpuPlan], key: Callable[[GpuPlan], str]) -> tuple[GpuBar, ...]:
    groups: dict[str, list[GpuPlan]] = {}
    for gpu in gpus:
        groups.setdefault(key(gpu), []).append(gpu)
    return tuple(_bar(f"{name} ({len(alike)} GPUs)" if len(alike) > 1 else name, alike) for name, alike in groups.items())


def _bar(label: str, gpus: Sequence[GpuPlan]) -> GpuBar:
    def mean_gib(part: Callable[[GpuPlan], int]) -> float:
        return sum(map(part, gpus)) / len(gpus) / MIB_PER_GIB

    return GpuBar(
        label=label,
        count=len(gpus),
        weights_gib=mean_gib(lambda gpu: gpu.weights_mib),
        kv_gib=mean_gib(lambda gpu: gpu.kv_mib),
        overhead_gib=mean_gib(lambda gpu: gpu.overhead_mib),
        taken_gib=mean_gib(lambda gpu: gpu.taken_mib),
        free_gib=mean_gib(lambda gpu: max(0, gpu.memory_mib - gpu.weights_mib - gpu.kv_mib - gpu.overhead_mib - gpu.taken_mib)),
    )
