"""Pools of the fleet file as this machine has them: names of the catalogue where they fit what the driver tells, else live facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.nvml.gpu_readings import NvmlGpu
from executor.nvml.gpu_speeds import GpuSpeeds
from executor.nvml.machine_readings import MachineReading
from profiles.catalogue import Catalogue, UnknownNameError
from profiles.gpu_types import GpuType
from profiles.mig import legal_layouts
from ullage.discovered_gpu import DeclaredFacts, catalogue_profile, declared_anew, differences, name_from

# A GPU of a type has what its name says, but for what ECC takes: more apart, it is another card under the same name.
_SAME_CARD_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class DiscoveredPool:
    """A pool as the fleet file writes it: fields in order, with a remark for people by field; notes stand above it."""

    name: str
    fields: Mapping[str, Any]
    remarks: Mapping[str, str]
    notes: tuple[str, ...]


def discovered_pools(machine: MachineReading, catalogue: Catalogue, name: str | None = None) -> tuple[DiscoveredPool, ...]:
    """One pool per kind of GPU; divided and undivided ones are two kinds. name is that of the first pool, default after the GPU type."""
    groups: dict[tuple[str, bool, int | None], list[NvmlGpu]] = {}
    for gpu in machine.gpus:
        groups.setdefault((gpu.name, gpu.mig == "on", gpu.memory_usable_mib), []).append(gpu)
    pools: list[DiscoveredPool] = []
    for gpus in groups.values():
        wanted = name or _default_name(gpus[0], catalogue)
        used = {pool.name for pool in pools}
        free = next(word for number in range(1, len(groups) + 1) if (word := wanted if number == 1 else f"{wanted}-{number}") not in used)
        pools.append(_pool(free, gpus, machine, catalogue))
    return tuple(pools)


def _pool(name: str, gpus: Sequence[NvmlGpu], machine: MachineReading, catalogue: Catalogue) -> DiscoveredPool:
    first = gpus[0]
    known = _known(first, catalogue)
    found = _gpu(first, machine.speeds[machine.gpus.index(first)], known, catalogue)
    fields: dict[str, Any] = {"gpu": found.fields, "nodes": 1, "gpus_per_node": len(machine.gpus)}
    remarks = {"gpu": found.remark, "nodes": "this machine; for more of the same kind raise it, and list their hosts"}
    if known is None or known.price_usd_per_h is None:
        fields["price"] = "1 USD/h"
        remarks["price"] = "a placeholder: no price is listed for it, write what an hour of one GPU costs you"
    if machine.link is not None:
        fields["link"] = machine.link
        if known is not None and known.link != machine.link:
            remarks["link"] = f"as the driver shows it; the catalogue says {known.link}"
    fields["host_cores"] = machine.host.host_cores
    if machine.host.memory_mib is not None:
        fields["host_memory"] = _size(machine.host.memory_mib)
    if machine.host.numa_nodes > 1 and len(machine.gpus) % machine.host.numa_nodes == 0:
        fields["numa_nodes"] = machine.host.numa_nodes
    mig_fields, mig_remark = _mig(gpus, known if not isinstance(found.fields, dict) else None)
    fields |= mig_fields
    remarks["mig"] = mig_remark
    others = [gpu.index for gpu in machine.gpus if gpu not in gpus]
    if others:
        fields["taken"] = [{"node": 0, "gpus": others}]
        remarks["taken"] = "they belong to another pool of this machine"
    return DiscoveredPool(name, fields, {field: text for field, text in remarks.items() if text}, tuple(_notes(gpus)))


def _known(gpu: NvmlGpu, catalogue: Catalogue) -> GpuType | None:
    try:
        known = catalogue.gpu(gpu.name)
    except UnknownNameError:
        return None
    if gpu.memory_usable_mib is not None and abs(gpu.memory_usable_mib / known.memory_usable_mib - 1) > _SAME_CARD_FRACTION:
        return None
    return known


def _gpu(gpu: NvmlGpu, speeds: GpuSpeeds, known: GpuType | None, catalogue: Catalogue) -> DeclaredFacts:
    if known is None:
        return declared_anew(gpu, speeds, None, catalogue, ())
    found = tuple(differences(gpu, known))
    return declared_anew(gpu, speeds, known, catalogue, found) if found else DeclaredFacts(known.name, "")


def _mig(gpus: Sequence[NvmlGpu], known: GpuType | None) -> tuple[dict[str, Any], str]:
    """The pool's MIG mode; known is the catalogue's type, None where the facts are declared."""
    states = {gpu.mig for gpu in gpus}
    if states == {"unsupported"}:
        return {}, ""
    if states == {"off"}:
        # facts that are declared here have no profiles: the driver tells where they may lie only in MIG mode
        return ({}, "") if known is None else ({"mig": "off"}, "with mig: repartition the plan divides each GPU")
    layouts = {tuple((instance.profile, instance.start) for instance in gpu.instances) for gpu in gpus}
    [layout, *others] = sorted(layouts)
    names = [catalogue_profile(gpus[0], profile, known) for profile, _ in layout]
    if layout and not others and known is not None and None not in names:
        wanted = sorted(str(profile) for profile in names)
        if any(sorted(profile for profile, _ in legal) == wanted for legal in legal_layouts(known)):
            return {"mig": "fixed", "mig_layout": names}, "as the GPUs are divided now; with mig: repartition the plan chooses"
    return {"mig": "repartition"}, "the GPUs are in MIG mode; the plan chooses how each is divided"


def _notes(gpus: Sequence[NvmlGpu]) -> Iterator[str]:
    for gpu in gpus:
        if gpu.processes:
            pids = sorted({process.pid for process in gpu.processes})
            held_mib = sum(process.memory_mib for process in gpu.processes)
            words = f"process {pids[0]} holds" if len(pids) == 1 else f"processes {', '.join(map(str, pids))} hold"
            yield f"GPU {gpu.index}: {words} {held_mib} MiB; if that stays, list it under taken"


def _default_name(gpu: NvmlGpu, catalogue: Catalogue) -> str:
    known = _known(gpu, catalogue)
    return name_from(gpu.name.removeprefix("NVIDIA ") if known is None else known.name).lower()


def _size(memory_mib: int) -> str:
    """In the largest unit of which there are some, rounded down."""
    return f"{memory_mib // 1024}GiB" if memory_mib >= 10 * 1024 else f"{memory_mib}MiB"
