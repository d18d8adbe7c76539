"""Emulated nodes: create them, read them, repartition their GPUs.

A node is a folder with one state file per GPU (`gpu0.state`, ...). Engines find it by ULLAGE_EMULATED_NODE and pick
their GPUs by CUDA_VISIBLE_DEVICES, as real ones do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from executor.emulator.gpu_file import UNITS, DeviceError, GpuFile, create_gpu_file

if TYPE_CHECKING:
    from planner.plan import GpuFacts

DeviceLayout = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class ResidentReading:
    """A living engine on a device: process, served name, memory in MiB, working now, GPU seconds of work so far."""

    pid: int
    name: str
    memory_mib: int
    active: bool
    busy_s: float


@dataclass(frozen=True, slots=True)
class InstanceReading:
    """A MIG instance, or the undivided GPU (profile empty, start 0).

    over_commits counts the times that more memory was asked for than there is, peak_mib the most ever asked for at
    once; busy_s is wall time with at least one resident working.
    """

    profile: str
    start: int
    uuid: str
    total_mib: int
    used_mib: int
    over_commits: int
    peak_mib: int
    busy_s: float
    residents: tuple[ResidentReading, ...]


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One emulated GPU with its instances. over_commits includes those of layouts it had before."""

    index: int
    gpu_type: str
    over_commits: int
    instances: tuple[InstanceReading, ...]

    @property
    def total_mib(self) -> int:
        """Memory of all instances."""
        return sum(instance.total_mib for instance in self.instances)

    @property
    def used_mib(self) -> int:
        """Memory of all residents."""
        return sum(instance.used_mib for instance in self.instances)

    @property
    def residents(self) -> tuple[ResidentReading, ...]:
        """All residents."""
        return tuple(resident for instance in self.instances for resident in instance.residents)


@dataclass(frozen=True, slots=True)
class NodeReading:
    """All GPUs of an emulated node, by index."""

    gpus: tuple[GpuReading, ...]

    @property
    def over_commits(self) -> int:
        """Times that more memory was asked for than a device has, over the whole node."""
        return sum(gpu.over_commits for gpu in self.gpus)


def gpu_path(node_dir: Path, index: int) -> Path:
    """State file of one GPU."""
    return node_dir / f"gpu{index}.state"


def count_gpus(node_dir: Path) -> int:
    """GPUs of a node; 0 when the folder is not a node."""
    count = 0
    while gpu_path(node_dir, count).exists():
        count += 1
    return count


@contextmanager
def open_gpu(node_dir: Path, index: int) -> Iterator[GpuFile]:
    """One GPU of a node, closed at the end."""
    gpu = GpuFile(gpu_path(node_dir, index))
    try:
        yield gpu
    finally:
        gpu.close()


def create_node(
    node_dir: Path, gpu_type_name: str, gpu_count: int, mig_layouts: Sequence[DeviceLayout] = (), own: GpuFacts | None = None
) -> None:
    """Make a node of `gpu_count` GPUs of a catalogue type or of its own; `mig_layouts` gives one layout per GPU, none: undivided.

    A GPU that exists already with the same type is left as it is, with its residents. Raises DeviceError when it
    exists with another type or other facts or a layout is not legal, and the catalogue's error for an unknown type.
    """
    from executor.emulator.node_gpus import record_facts, recorded_facts  # noqa: PLC0415 - engines import this module and start faster without it
    from profiles.catalogue import builtin  # noqa: PLC0415 - as above

    if mig_layouts and len(mig_layouts) != gpu_count:
        raise DeviceError(f"{node_dir}: {len(mig_layouts)} MIG layouts for {gpu_count} GPUs; give one per GPU or none")
    if (existing_count := count_gpus(node_dir)) > gpu_count:
        raise DeviceError(f"{node_dir}: has {existing_count} GPUs already, not {gpu_count}; remove the folder to start anew")
    gpu = builtin().gpu(gpu_type_name) if own is None else own.gpu_type()
    node_dir.mkdir(parents=True, exist_ok=True)
    if existing_count and recorded_facts(node_dir) != own:
        raise DeviceError(f"{node_dir}: its GPUs are of a type with other facts than {gpu.name}; remove the folder to start anew")
    record_facts(node_dir, own)
    for index in range(gpu_count):
        path = gpu_path(node_dir, index)
        if not path.exists():
            create_gpu_file(path, gpu.name, gpu.memory_usable_mib)
            if mig_layouts and mig_layouts[index]:
                repartition(node_dir, index, mig_layouts[index])
            continue
        with open_gpu(node_dir, index) as existing:
            if existing.gpu_type != gpu.name:
                raise DeviceError(f"{path}: is a {existing.gpu_type}, not a {gpu.name}; remove the folder to start anew")


def repartition(node_dir: Path, gpu: int, layout: DeviceLayout) -> None:
    """Give a GPU this MIG layout: (profile, start slot) pairs, empty for the undivided GPU.

    As on real GPUs an instance that stays keeps its residents; one that goes must be idle. Raises DeviceError when it is not, or
    when the layout is not legal for the type.
    """
    from executor.emulator.node_gpus import node_gpu_type  # noqa: PLC0415 - as above
    from profiles.mig import legal_layouts  # noqa: PLC0415 - as above

    with open_gpu(node_dir, gpu) as state, state.lock():
        gpu_type = node_gpu_type(node_dir, state.gpu_type)
        wanted = set(layout)
        if wanted and frozenset(wanted) not in {frozenset(legal) for legal in legal_layouts(gpu_type)}:
            raise DeviceError(f"{state.path}: {tuple(layout)} is not a legal MIG layout of {gpu_type.name}")
        places = {unit: state.layout(unit)[:2] for unit in state.units() if unit}
        staying = {unit: place for unit, place in places.items() if place in wanted}
        for unit in state.units():
            state.sweep(unit, time.monotonic())
            changes = bool(wanted) if unit == 0 else unit not in staying
            if changes and (slots := state.slots(unit)):
                who = ", ".join(f"{slot.name} (pid {slot.pid})" for _, slot in slots)
                raise DeviceError(f"{state.path}: cannot repartition while in use by {who}; stop it first")
        memory_mib = {profile.name: profile.memory_mib for profile in gpu_type.mig_profiles}
        coming = iter(sorted(wanted - set(staying.values()), key=lambda place: place[1]))
        for unit in range(1, UNITS):
            if unit not in staying:
                profile, start = next(coming, ("", -1))
                state.set_layout(unit, profile, start, memory_mib.get(profile, 0))


def instance_uuid(gpu: int, start: int) -> str:
    """The name of an instance, unique on its node: it says the place.

    >>> instance_uuid(2, 4)
    'MIG-00000002-0000-4000-8000-000000000004'
    """
    return f"MIG-{gpu:08x}-0000-4000-8000-{start:012x}"


def read_node(node_dir: Path) -> NodeReading:
    """What every GPU of a node holds now; residents whose process is gone are cleaned up first."""
    count = count_gpus(node_dir)
    if not count:
        raise DeviceError(f"{node_dir}: not an emulated node: no gpu0.state in it")
    return NodeReading(gpus=tuple(_read_gpu(node_dir, index) for index in range(count)))


def _read_gpu(node_dir: Path, index: int) -> GpuReading:
    with open_gpu(node_dir, index) as state, state.lock():
        instances = tuple(_read_unit(state, index, unit) for unit in state.units())
        over_commits = sum(state.totals(unit)[1] for unit in range(UNITS))
        return GpuReading(index=index, gpu_type=state.gpu_type, over_commits=over_commits, instances=instances)


def _read_unit(state: GpuFile, gpu: int, unit: int) -> InstanceReading:
    state.sweep(unit, time.monotonic())
    profile, start, total_mib = state.layout(unit)
    busy_s, over_commits, peak_mib = state.totals(unit)
    residents = tuple(
        ResidentReading(pid=slot.pid, name=slot.name, memory_mib=slot.memory_mib, active=slot.active, busy_s=slot.busy_s)
        for _, slot in state.slots(unit)
    )
    return InstanceReading(
        profile=profile,
        start=start,
        uuid=instance_uuid(gpu, start) if unit else "",
        total_mib=total_mib,
        used_mib=sum(resident.memory_mib for resident in residents),
        over_commits=over_commits,
        peak_mib=peak_mib,
        busy_s=busy_s,
        residents=residents,
    )
