"""MIG profiles and instances of one GPU, in NVML's terms. Every function here needs an open session (executor.nvml.driver)."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref, c_uint
from dataclasses import dataclass

import pynvml

from executor.nvml.driver import GpuDriverError, NvmlHandle, asking, text_of

# The profiles without added or missing media engines, and without graphics: what the catalogue has. The rest carries a suffix (+me, +gfx).
_PLAIN = frozenset(
    {
        pynvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_2_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_3_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_4_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_6_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_7_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_8_SLICE,
        pynvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV2,
    }
)
# nvmlDeviceGetGpuInstanceProfileInfo knows only some of the numbers up to NVML_GPU_INSTANCE_PROFILE_COUNT on a GPU.
_NOT_THERE = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
# nvmlMigDevice indexes without a device.
_EMPTY = {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}
# The most compute instances of one profile inside one GPU instance.
_MOST_COMPUTE_INSTANCES = 8


@dataclass(frozen=True, slots=True)
class MigOffer:
    """A MIG profile that the driver offers on this GPU.

    profile_id is what the driver calls it, which is not NVML's constant. memory_slices and starts are 0 and empty while MIG is off: the
    driver tells them only then. plain: without media engines added or left out, and without graphics.
    """

    name: str
    profile_id: int
    compute_slices: int
    memory_slices: int
    memory_mib: int
    sm_count: int
    max_count: int
    starts: tuple[int, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A GPU instance; start and memory_slices count memory slices, compute_profile_ids has its compute instances.

    uuid names the device that it is to a process. It is None where no compute instance takes all of it: nothing can be started there.
    """

    instance_id: int
    profile: str
    profile_id: int
    start: int
    memory_slices: int
    compute_profile_ids: tuple[int, ...]
    uuid: str | None


def offers(handle: NvmlHandle, gpu: int) -> tuple[MigOffer, ...]:
    """The MIG profiles of a GPU, by compute slices and memory. Raises GpuDriverError."""
    found = []
    for number in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        info = _profile_info(handle, gpu, number)
        if info is None:
            continue
        places = _places(handle, gpu, int(info.id))
        found.append(
            MigOffer(
                name=_name(info, number),
                profile_id=int(info.id),
                compute_slices=int(info.sliceCount),
                memory_slices=max((size for _, size in places), default=0),
                memory_mib=int(info.memorySizeMB),
                sm_count=int(info.multiprocessorCount),
                max_count=int(info.instanceCount),
                starts=tuple(sorted({start for start, _ in places})),
                plain=number in _PLAIN,
            )
        )
    return tuple(sorted(found, key=lambda offer: (offer.compute_slices, offer.memory_mib, not offer.plain, offer.name)))


def instances(handle: NvmlHandle, gpu: int) -> tuple[MigInstance, ...]:
    """The MIG instances of a GPU that is divided, by start slot. Raises GpuDriverError."""
    uuids = {instance_id: uuid for instance_id, (_, uuid) in mig_devices(handle, gpu).items()}
    found = []
    for offer in offers(handle, gpu):
        for instance in instances_of(handle, gpu, offer):
            with asking("read a MIG instance", gpu):
                info = pynvml.nvmlGpuInstanceGetInfo(instance)
            computing = tuple(sorted(profile_id for _, profile_id in compute_instances(instance, gpu)))
            whole = computing == (whole_compute_profile(instance, gpu, offer.compute_slices),)
            found.append(
                MigInstance(
                    instance_id=int(info.id),
                    profile=offer.name,
                    profile_id=offer.profile_id,
                    start=int(info.placement.start),
                    memory_slices=int(info.placement.size),
                    compute_profile_ids=computing,
                    uuid=uuids.get(int(info.id)) if whole else None,
                )
            )
    return tuple(sorted(found, key=lambda instance: instance.start))


def mig_devices(handle: NvmlHandle, gpu: int) -> dict[int, tuple[NvmlHandle, str]]:
    """The devices that processes may use on a divided GPU: handle and UUID by id of their GPU instance. Raises GpuDriverError."""
    found: dict[int, tuple[NvmlHandle, str]] = {}
    with asking("list its MIG devices", gpu):
        count = int(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    for index in range(count):
        try:
            with asking("read a MIG device", gpu):
                device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                found[int(pynvml.nvmlDeviceGetGpuInstanceId(device))] = device, text_of(pynvml.nvmlDeviceGetUUID(device))
        except GpuDriverError as error:
            if error.code not in _EMPTY:
                raise
    return found


def instances_of(handle: NvmlHandle, gpu: int, offer: MigOffer) -> list[NvmlHandle]:
    """NVML's handles of the GPU instances of one profile. Raises GpuDriverError."""
    array, count = (pynvml.c_nvmlGpuInstance_t * max(offer.max_count, 1))(), c_uint(0)
    with asking(f"list its MIG instances {offer.name}", gpu):
        pynvml.nvmlDeviceGetGpuInstances(handle, offer.profile_id, array, byref(count))
    return [array[index] for index in range(count.value)]


def compute_instances(instance: NvmlHandle, gpu: int) -> Iterator[tuple[NvmlHandle, int]]:
    """NVML's handles of the compute instances inside a GPU instance, with the ids of their profiles. Raises GpuDriverError."""
    for profile_id in _compute_profiles(instance, gpu):
        array, count = (pynvml.c_nvmlComputeInstance_t * _MOST_COMPUTE_INSTANCES)(), c_uint(0)
        with asking("list the compute instances of a MIG instance", gpu):
            pynvml.nvmlGpuInstanceGetComputeInstances(instance, profile_id, array, byref(count))
        yield from ((array[index], profile_id) for index in range(count.value))


def whole_compute_profile(instance: NvmlHandle, gpu: int, compute_slices: int) -> int | None:
    """Id of the profile of a compute instance that takes all of a GPU instance, None where there is none. Raises GpuDriverError."""
    found = _compute_profiles(instance, gpu).items()
    return next((profile_id for profile_id, slices in found if slices == compute_slices), None)


def _compute_profiles(instance: NvmlHandle, gpu: int) -> dict[int, int]:
    """Compute slices by the driver's id of a profile, in NVML's order."""
    found: dict[int, int] = {}
    for number in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
        try:
            with asking("read the compute profiles of a MIG instance", gpu):
                info = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(
                    instance, number, pynvml.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, version=1
                )
            found.setdefault(int(info.id), int(info.sliceCount))
        except GpuDriverError as error:
            if error.code not in _NOT_THERE:
                raise
    return found


def _profile_info(handle: NvmlHandle, gpu: int, number: int) -> NvmlHandle:
    """What the driver says of one of NVML's profiles, None where the GPU has none such; older drivers do not tell its name."""
    for version in (2, 1):
        try:
            with asking("read its MIG profiles", gpu):
                return pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, number, version=version)
        except GpuDriverError as error:
            if version == 2 and error.code in {pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH}:
                continue
            if error.code in _NOT_THERE:
                return None
            raise
    return None


def _places(handle: NvmlHandle, gpu: int, profile_id: int) -> list[tuple[int, int]]:
    """(start, size) in memory slices where an instance of the profile may lie; empty while MIG is off."""
    try:
        with asking("read the places of its MIG profiles", gpu):
            # the call writes the number through its last argument: a plain c_uint there ends the process
            count = c_uint(0)
            pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, None, byref(count))
            array = (pynvml.c_nvmlGpuInstancePlacement_t * max(count.value, 1))()
            pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, array, byref(count))
    except GpuDriverError as error:
        if error.code in _NOT_THERE:
            return []
        raise
    return [(int(array[index].start), int(array[index].size)) for index in range(count.value)]


def _name(info: NvmlHandle, number: int) -> str:
    """Name as nvidia-smi and the catalogue have it: some drivers put MIG before it, older ones tell none."""
    name = text_of(getattr(info, "name", "")).removeprefix("MIG ").strip()
    # sizes in names are in units of 10^9 bytes, rounded; without a name it only has to differ from others
    return name or f"{int(info.sliceCount)}g.{round(int(info.memorySizeMB) * (1 << 20) / 1e9)}gb{'' if number in _PLAIN else f'+{number}'}"
