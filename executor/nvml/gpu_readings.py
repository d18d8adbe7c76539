"""One GPU as it is now: memory, processes, and how it is divided. Every function here needs an open session (executor.nvml.driver)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pynvml

from executor.nvml.driver import GpuDriverError, NvmlHandle, asking, text_of
from executor.nvml.mig_geometry import MigInstance, MigOffer, instances, mig_devices, offers

MigState = Literal["unsupported", "off", "on"]

_MIB = 1 << 20
# What NVML writes where something belongs to the whole GPU, and to no MIG instance.
_NO_INSTANCE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU; instance_id is that of the MIG GPU instance it lives in, None on an undivided GPU.

    memory_mib is 0 where the driver does not tell it.
    """

    pid: int
    memory_mib: int
    instance_id: int | None


@dataclass(frozen=True, slots=True)
class NvmlGpu:
    """A GPU as the driver shows it.

    memory_usable_mib is what all processes together can get: the total without what the driver keeps. Both are None where the GPU has
    no memory of its own. offers are its MIG profiles, instances the MIG instances there are.
    """

    index: int
    uuid: str
    name: str
    compute_capability: str
    memory_total_mib: int | None
    memory_usable_mib: int | None
    mig: MigState
    offers: tuple[MigOffer, ...]
    instances: tuple[MigInstance, ...]
    processes: tuple[GpuProcess, ...]


def handle_of(index: int) -> NvmlHandle:
    """NVML's handle of the GPU with that index. Raises GpuDriverError, also for one that has vanished."""
    with asking("find it", index):
        return pynvml.nvmlDeviceGetHandleByIndex(index)


def uuid_of(handle: NvmlHandle, index: int) -> str:
    """The name of the whole GPU that CUDA_VISIBLE_DEVICES takes. Raises GpuDriverError."""
    with asking("read its UUID", index):
        return text_of(pynvml.nvmlDeviceGetUUID(handle))


def read_gpu(index: int) -> NvmlGpu:
    """Everything about one GPU. Raises GpuDriverError."""
    handle = handle_of(index)
    with asking("read its name", index):
        name = text_of(pynvml.nvmlDeviceGetName(handle))
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    total_mib, usable_mib = _memory_mib(handle, index)
    mig = mig_state(handle, index)
    return NvmlGpu(
        index=index,
        uuid=uuid_of(handle, index),
        name=name,
        compute_capability=f"{major}.{minor}",
        memory_total_mib=total_mib,
        memory_usable_mib=usable_mib,
        mig=mig,
        offers=offers(handle, index) if mig != "unsupported" else (),
        instances=instances(handle, index) if mig == "on" else (),
        processes=processes_on(handle, index, mig),
    )


def mig_state(handle: NvmlHandle, index: int) -> MigState:
    """Whether the GPU is divided now; what is only set for the next reset does not count. Raises GpuDriverError."""
    try:
        with asking("read its MIG mode", index):
            current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except GpuDriverError as error:
        if error.code in {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}:
            return "unsupported"
        raise
    return "on" if current == pynvml.NVML_DEVICE_MIG_ENABLE else "off"


def processes_on(handle: NvmlHandle, index: int, mig: MigState) -> tuple[GpuProcess, ...]:
    """Processes that hold memory, by pid and instance. Raises GpuDriverError."""
    try:
        found = [_process(entry) for entry in _listed(handle, index)]
    except GpuDriverError as error:
        if mig != "on" or error.code not in {pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_SUPPORTED}:
            raise
        # who may not see the whole of a divided GPU may still see the instances that are given to them
        found = [
            GpuProcess(int(entry.pid), _process(entry).memory_mib, instance_id)
            for instance_id, (device, _) in mig_devices(handle, index).items()
            for entry in _listed(device, index)
        ]
    # a process that draws and computes, or computes through MPS, may stand in several lists
    merged: dict[tuple[int, int | None], int] = {}
    for process in found:
        key = (process.pid, process.instance_id)
        merged[key] = max(merged.get(key, 0), process.memory_mib)
    rows = sorted(merged.items(), key=lambda row: (row[0][0], -1 if row[0][1] is None else row[0][1]))
    return tuple(GpuProcess(pid, memory_mib, instance_id) for (pid, instance_id), memory_mib in rows)


def _listed(device: NvmlHandle, index: int) -> list[NvmlHandle]:
    with asking("list the processes on it", index):
        found = list(pynvml.nvmlDeviceGetComputeRunningProcesses(device))
        # cards without a screen, and MIG instances, draw nothing; older drivers list clients of MPS with all others
        for further in (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3):
            with suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
                found += further(device)
    return found


def _process(entry: NvmlHandle) -> GpuProcess:
    memory_bytes = entry.usedGpuMemory or 0
    instance_id = int(getattr(entry, "gpuInstanceId", _NO_INSTANCE))
    return GpuProcess(int(entry.pid), -(-int(memory_bytes) // _MIB), None if instance_id == _NO_INSTANCE else instance_id)


def _memory_mib(handle: NvmlHandle, index: int) -> tuple[int | None, int | None]:
    """Total, and what processes can get of it. Older drivers do not tell the difference."""
    try:
        with asking("read its memory", index):
            try:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
                reserved_bytes = int(memory.reserved)
            except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
                memory, reserved_bytes = pynvml.nvmlDeviceGetMemoryInfo(handle), 0
    except GpuDriverError as error:
        if error.code == pynvml.NVML_ERROR_NOT_SUPPORTED:
            return None, None
        raise
    return int(memory.total) // _MIB, (int(memory.total) - reserved_bytes) // _MIB
