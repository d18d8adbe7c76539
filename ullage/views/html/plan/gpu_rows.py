"""The GPUs of a plan as rows of its picture: one each in small fleets, one for all that hold the same in large ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from planner.plan import Desired, GpuPlan, Replica

# Up to so many GPUs in use, each has a row of its own.
MOST_SINGLE_GPUS = 60
# More rows than these are made fewer by drawing GPUs with the same models as one, although their sizes differ a little.
MOST_EXACT_ROWS = 300


@dataclass(frozen=True, slots=True)
class GpuRow:
    """GPUs drawn as one bar, that of the first, with the residents of each in the same order."""

    gpus: tuple[GpuPlan, ...]
    residents: tuple[tuple[Replica, ...], ...]
    sizes_differ: bool = False


def gpu_rows(desired: Desired) -> dict[str, list[GpuRow]]:
    """The rows of the GPUs in use by pool, in the plan's order."""
    replicas = {replica.name: replica for replica in desired.replicas}
    singles = [
        GpuRow((gpu,), (tuple(sorted((replicas[name] for name in gpu.replicas), key=_order)),)) for gpu in desired.gpus if gpu.replicas
    ]
    rows = singles
    if len(singles) > MOST_SINGLE_GPUS:
        rows = _merged(singles, _exact_key)
    if len(rows) > MOST_EXACT_ROWS:
        rows = _merged(singles, _models_key)
    by_pool: dict[str, list[GpuRow]] = {gpu.pool: [] for gpu in desired.gpus}
    for row in rows:
        by_pool[row.gpus[0].pool].append(row)
    return by_pool


def _order(replica: Replica) -> tuple[int, str, str]:
    return (replica.mig.start if replica.mig else 0, replica.served_name, replica.name)


def _exact_key(row: GpuRow) -> Hashable:
    gpu = row.gpus[0]
    contents = tuple((item.served_name, item.mig, item.ledger.model_copy(update=_UNSEEN), item.kv_grown_mib) for item in row.residents[0])
    return (*_kind(gpu), gpu.mig_layout, gpu.taken_mib, gpu.memory_mib, contents)


# what of a ledger a bar does not show
_UNSEEN = {"provenance": "", "caveats": (), "start_peak_mib": 0}


def _models_key(row: GpuRow) -> Hashable:
    return (*_kind(row.gpus[0]), row.gpus[0].mig_layout, tuple((item.served_name, item.mig) for item in row.residents[0]))


def _kind(gpu: GpuPlan) -> tuple[str, str, str]:
    return (gpu.pool, gpu.gpu_type, gpu.mode)


def _merged(singles: Iterable[GpuRow], key: Callable[[GpuRow], Hashable]) -> list[GpuRow]:
    groups: dict[Hashable, list[GpuRow]] = {}
    for row in singles:
        groups.setdefault(key(row), []).append(row)
    return [
        GpuRow(
            tuple(row.gpus[0] for row in group),
            tuple(row.residents[0] for row in group),
            sizes_differ=len({_exact_key(row) for row in group}) > 1,
        )
        for group in groups.values()
    ]
