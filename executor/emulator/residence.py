"""An engine's place on its GPUs: finding them, claiming and freeing memory, saying when it works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from executor.emulator.devices import count_gpus, gpu_path, instance_uuid
from executor.emulator.gpu_file import SLOTS, DeviceError, GpuFile, Slot, process_start_ticks

# How often the death of an active neighbour is looked for while a GPU is shared: it may slow us for that long.
_SWEEP_INTERVAL_S = 0.25


class OutOfMemoryError(RuntimeError):
    """More memory was asked for than the device has left; the message is the driver's."""


def visible_devices(node_dir: Path, visible: str | None, count: int) -> tuple[tuple[GpuFile, int], ...]:
    """The first `count` devices that CUDA_VISIBLE_DEVICES names (all GPUs when None), as (file, unit).

    Raises DeviceError for an unknown name, too few of them, or a GPU in MIG mode named by its index.
    """
    total = count_gpus(node_dir)
    if not total:
        raise DeviceError(f"{node_dir}: not an emulated node: no gpu0.state in it")
    names = [str(index) for index in range(total)] if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    if len(names) < count:
        raise DeviceError(f"tensor parallel size {count} needs {count} GPUs, CUDA_VISIBLE_DEVICES={visible!r} names {len(names)}")
    if len(set(names)) < len(names):
        raise DeviceError(f"CUDA_VISIBLE_DEVICES={visible!r} names a device twice")
    if count > 1 and any(name.startswith("MIG-") for name in names):
        raise DeviceError("tensor parallelism does not cross MIG instances; use one instance or whole GPUs")
    return tuple(_device(node_dir, total, name) for name in names[:count])


def _device(node_dir: Path, total: int, name: str) -> tuple[GpuFile, int]:
    if name.startswith("MIG-"):
        return _instance(node_dir, total, name)
    if not name.isdecimal() or int(name) >= total:
        raise DeviceError(f"{node_dir}: no device {name!r}; GPUs are 0 to {total - 1}, MIG instances are named by UUID")
    gpu = GpuFile(gpu_path(node_dir, int(name)))
    if gpu.units() != (0,):
        gpu.close()
        raise DeviceError(f"{node_dir}: GPU {name} is in MIG mode; name one of its instances by UUID")
    return gpu, 0


def _instance(node_dir: Path, total: int, name: str) -> tuple[GpuFile, int]:
    for index in range(total):
        gpu = GpuFile(gpu_path(node_dir, index))
        for unit in gpu.units():
            if unit and instance_uuid(index, gpu.layout(unit)[1]) == name:
                return gpu, unit
        gpu.close()
    raise DeviceError(f"{node_dir}: no MIG instance {name}")


class Residence:
    """The slots of one engine, one per device it runs on (several under tensor parallelism)."""

    def __init__(
        self,
        devices: Sequence[tuple[GpuFile, int]],
        name: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        own_threads: bool = False,
    ) -> None:
        """Stand ready on these devices without holding memory yet; clock must be the same for all processes.

        own_threads: it shares them by MPS, so that neighbours at work take none of its time; how fast it is depends on its threads.
        """
        self._devices = tuple(devices)
        self._name = name
        self._now = clock
        self._own_threads = own_threads
        self._slots: tuple[int, ...] = ()
        self._swept_s = 0.0
        self.busy_s = 0.0

    @property
    def node_dir(self) -> Path:
        """Folder of the emulated node."""
        return self._devices[0][0].path.parent

    @property
    def gpu_type(self) -> str:
        """Name of the type of the GPUs."""
        return self._devices[0][0].gpu_type

    @property
    def mig_profile(self) -> str | None:
        """Profile name when the engine lives on a MIG instance."""
        gpu, unit = self._devices[0]
        return gpu.layout(unit)[0] if unit else None

    def memory(self) -> tuple[tuple[int, int], ...]:
        """(free, total) MiB of each device, without what this engine holds."""
        with self._locked():
            return tuple(self._free(gpu, unit, place) for place, (gpu, unit) in enumerate(self._devices))

    def claim(self, memory_mib: int) -> None:
        """Hold this much on every device, instead of what was held before.

        Raises OutOfMemoryError when one has less; the demand is recorded there and nothing changes.
        """
        with self._locked():
            for place, (gpu, unit) in enumerate(self._devices):
                free_mib, total_mib = self._free(gpu, unit, place)
                gpu.record_demand(unit, total_mib - free_mib + memory_mib)
                if memory_mib > free_mib:
                    raise OutOfMemoryError(
                        f"CUDA out of memory. Tried to allocate {memory_mib / 1024:.2f} GiB. GPU {place} has a total capacity of "
                        f"{total_mib / 1024:.2f} GiB of which {free_mib / 1024:.2f} GiB is free."
                    )
            self._write(memory_mib)

    def release(self) -> None:
        """Give up the slots; for the end of the process."""
        with self._locked():
            for (gpu, unit), index in zip(self._devices, self._slots, strict=False):
                gpu.write_slot(unit, index, None)
                gpu.recount(unit, self._now())
        self._slots = ()

    def set_active(self, active: bool) -> None:
        """Say that a step is running or that there is no work: neighbours slow down or speed up."""
        with self._locked():
            for (gpu, unit), index in zip(self._devices, self._slots, strict=True):
                slot = gpu.slot(unit, index)
                if slot is not None:
                    gpu.write_slot(unit, index, replace(slot, active=active, busy_s=self.busy_s))
                gpu.recount(unit, self._now())

    def clocks(self, now_s: float) -> tuple[tuple[float, int], ...]:
        """(GPU seconds, residents that share them) of each device; looks for dead neighbours now and then.

        Under MPS nobody shares them: the seconds of the wall are its own.
        """
        clocks = tuple(gpu.clock(unit, now_s) for gpu, unit in self._devices)
        if now_s - self._swept_s > _SWEEP_INTERVAL_S:
            self._swept_s = now_s
            if any(active > 1 for _, active in clocks):
                with self._locked():
                    for gpu, unit in self._devices:
                        gpu.sweep(unit, now_s)
            for (gpu, unit), index in zip(self._devices, self._slots, strict=True):
                gpu.write_busy(unit, index, self.busy_s)
        return tuple((now_s, 1) for _ in clocks) if self._own_threads else clocks

    def _locked(self) -> ExitStack:
        stack = ExitStack()
        # Always in the same order, or two tensor-parallel engines could wait for each other.
        for gpu in sorted({gpu for gpu, _ in self._devices}, key=lambda gpu: str(gpu.path)):
            stack.enter_context(gpu.lock())
        return stack

    def _free(self, gpu: GpuFile, unit: int, place: int) -> tuple[int, int]:
        gpu.sweep(unit, self._now())
        own = self._slots[place] if self._slots else None
        used_mib = sum(slot.memory_mib for index, slot in gpu.slots(unit) if index != own)
        total_mib = gpu.layout(unit)[2]
        return max(0, total_mib - used_mib), total_mib

    def _write(self, memory_mib: int) -> None:
        pid = os.getpid()
        ticks = process_start_ticks(pid) or 0
        if not self._slots:
            self._slots = tuple(_free_slot(gpu, unit) for gpu, unit in self._devices)
        for (gpu, unit), index in zip(self._devices, self._slots, strict=True):
            held = gpu.slot(unit, index)
            active = held.active if held is not None else False
            gpu.write_slot(unit, index, Slot(pid, ticks, memory_mib, active, self.busy_s, self._name))


def _free_slot(gpu: GpuFile, unit: int) -> int:
    for index in range(SLOTS):
        if gpu.slot(unit, index) is None:
            return index
    raise DeviceError(f"{gpu.path}: all {SLOTS} places for residents are taken")
