"""Giving a GPU another MIG layout: what stays is left alone, and a failure gives the former layout back.

Every function here needs an open session (executor.nvml.driver).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import byref
from dataclasses import dataclass
from functools import partial

import pynvml

from executor.errors import ExecutorError
from executor.nvml.driver import GpuDriverError, NvmlHandle, asking
from executor.nvml.gpu_readings import GpuProcess, handle_of, mig_state, processes_on
from executor.nvml.mig_geometry import MigInstance, MigOffer, compute_instances, instances, offers, whole_compute_profile
from profiles.gpu_types import MigProfile


@dataclass(frozen=True, slots=True)
class WantedInstance:
    """An instance as a plan names it; kind is what the GPU type knows of its profile, None where that is not known."""

    profile: str
    start: int
    kind: MigProfile | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an instance of a profile is to be; compute_profile_ids None: one compute instance that takes all of it."""

    offer: MigOffer
    start: int
    compute_profile_ids: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.offer.name} at start slot {self.start}"


def set_layout(gpu: int, wanted: Sequence[WantedInstance]) -> None:
    """Divide a GPU as wanted, MIG switched on or off as needed; without any instance it is one undivided GPU.

    Raises ExecutorError, and then the GPU is divided as before; where not even that succeeds, the message says how it is divided now.
    """
    handle = handle_of(gpu)
    state = mig_state(handle, gpu)
    if state == "unsupported" and wanted:
        raise ExecutorError(f"GPU {gpu}: has no MIG, or its driver knows none; plan it with `mig: off`")
    if state == "on":
        _change(handle, gpu, wanted)
    elif wanted:
        _switch(handle, gpu, on=True)
        try:
            _change(handle_of(gpu), gpu, wanted)
        except ExecutorError:
            with suppress(ExecutorError):
                _switch(handle, gpu, on=False)
            raise


def offer_for(wanted: WantedInstance, offered: Sequence[MigOffer], gpu: int) -> MigOffer:
    """The driver's profile: the one of that name, else, since names move with the driver, the plain one of the same slices.

    Raises ExecutorError, which lists what the driver has.
    """
    named = [offer for offer in offered if offer.name == wanted.profile]
    kind = wanted.kind
    if kind is not None:
        slices = kind.compute_slices, kind.memory_slices
        named += [offer for offer in offered if offer.plain and (offer.compute_slices, offer.memory_slices) == slices]
    if not named:
        there = ", ".join(offer.name for offer in offered) or "none"
        raise ExecutorError(f"GPU {gpu}: the driver has no MIG profile {wanted.profile}; it offers {there}; plan with one of these")
    return named[0]


def layout_text(layout: Sequence[MigInstance]) -> str:
    """MIG instances for people."""
    return ", ".join(f"{instance.profile} at {instance.start}" for instance in layout) or "no MIG instance"


def _change(handle: NvmlHandle, gpu: int, wanted: Sequence[WantedInstance]) -> None:
    offered = offers(handle, gpu)
    places = [_Place(offer_for(item, offered, gpu), item.start) for item in wanted]
    for place in places:
        if place.start not in place.offer.starts:
            starts = ", ".join(map(str, place.offer.starts)) or "none"
            raise ExecutorError(f"GPU {gpu}: {place.offer.name} cannot begin at start slot {place.start}; the driver allows {starts}")
    former = instances(handle, gpu)
    _refuse_used(handle, gpu, [instance for instance in former if not any(_fills(instance, place) for place in places)])
    try:
        _reach(handle, gpu, places)
        if not wanted:
            _switch(handle, gpu, on=False)
    except ExecutorError as error:
        _give_back(gpu, former, offered, error)


def _give_back(gpu: int, former: Sequence[MigInstance], offered: Sequence[MigOffer], error: ExecutorError) -> None:
    """Raises the error again, with how the GPU is divided now."""
    code = error.code if isinstance(error, GpuDriverError) else pynvml.NVML_ERROR_UNKNOWN
    kinds = {offer.profile_id: offer for offer in offered}
    try:
        handle = handle_of(gpu)
        _reach(handle, gpu, [_Place(kinds[item.profile_id], item.start, item.compute_profile_ids) for item in former])
    except ExecutorError as again:
        now = "unknown"
        with suppress(ExecutorError):
            now = layout_text(instances(handle_of(gpu), gpu))
        raise GpuDriverError(
            code, f"{error}\nits former layout ({layout_text(former)}) could not be given back either: {again}\nit has now: {now}"
        ) from error
    raise GpuDriverError(code, f"{error}\nit has its former layout again: {layout_text(former)}") from error


def _reach(handle: NvmlHandle, gpu: int, places: Sequence[_Place]) -> None:
    """Remove, then make; an instance that lies where one is wanted is kept, and filled again where only its inside differs."""
    wanted = {(place.offer.profile_id, place.start): place for place in places}
    there = {(instance.profile_id, instance.start): instance for instance in instances(handle, gpu)}
    for key, instance in there.items():
        if key not in wanted:
            _remove(handle, gpu, instance)
    for key, place in sorted(wanted.items(), key=lambda item: item[1].start):
        found = there.get(key)
        if found is None:
            _make(handle, gpu, place)
        elif not _fills(found, place):
            _empty(handle, gpu, found)
            _fill(_instance(handle, gpu, found), gpu, place)


def _fills(instance: MigInstance, place: _Place) -> bool:
    """Whether the instance is what is wanted there, its inside included."""
    if (instance.profile_id, instance.start) != (place.offer.profile_id, place.start):
        return False
    return instance.uuid is not None if place.compute_profile_ids is None else instance.compute_profile_ids == place.compute_profile_ids


def _make(handle: NvmlHandle, gpu: int, place: _Place) -> None:
    where = pynvml.c_nvmlGpuInstancePlacement_t(start=place.start, size=place.offer.memory_slices)
    with asking(f"make the MIG instance {place}", gpu):
        instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(handle, place.offer.profile_id, byref(where))
    _fill(instance, gpu, place)


def _fill(instance: NvmlHandle, gpu: int, place: _Place) -> None:
    profile_ids = place.compute_profile_ids
    if profile_ids is None:
        whole = whole_compute_profile(instance, gpu, place.offer.compute_slices)
        if whole is None:
            raise ExecutorError(f"GPU {gpu}: the driver has no compute instance that takes all of {place}")
        profile_ids = (whole,)
    for profile_id in profile_ids:
        with asking(f"make the compute instance of {place}", gpu):
            pynvml.nvmlGpuInstanceCreateComputeInstance(instance, profile_id)


def _remove(handle: NvmlHandle, gpu: int, instance: MigInstance) -> None:
    """The driver takes a GPU instance away only when no compute instance is left in it."""
    _empty(handle, gpu, instance)
    _unless_used(handle, gpu, instance, lambda: pynvml.nvmlGpuInstanceDestroy(_instance(handle, gpu, instance)))


def _empty(handle: NvmlHandle, gpu: int, instance: MigInstance) -> None:
    for computing, _ in list(compute_instances(_instance(handle, gpu, instance), gpu)):
        _unless_used(handle, gpu, instance, partial(pynvml.nvmlComputeInstanceDestroy, computing))


def _instance(handle: NvmlHandle, gpu: int, instance: MigInstance) -> NvmlHandle:
    with asking("find a MIG instance", gpu):
        return pynvml.nvmlDeviceGetGpuInstanceById(handle, instance.instance_id)


def _unless_used(handle: NvmlHandle, gpu: int, instance: MigInstance, destroy: Callable[[], object]) -> None:
    try:
        with asking(f"take away the MIG instance {layout_text([instance])}", gpu):
            destroy()
    except GpuDriverError as error:
        if error.code == pynvml.NVML_ERROR_IN_USE:
            _refuse_used(handle, gpu, [instance])
        raise


def _refuse_used(handle: NvmlHandle, gpu: int, leaving: Sequence[MigInstance]) -> None:
    """Raises GpuDriverError naming the processes that live on instances which are to go."""
    users = processes_on(handle, gpu, "on") if leaving else ()
    for instance in leaving:
        own = [process for process in users if process.instance_id == instance.instance_id]
        if own:
            raise GpuDriverError(
                pynvml.NVML_ERROR_IN_USE,
                f"GPU {gpu}: the MIG instance {layout_text([instance])} cannot be taken away: {_pids(own)} it; end that first",
            )


def _switch(handle: NvmlHandle, gpu: int, *, on: bool) -> None:
    """Switch MIG on or off at once; what can only be done by a reset is undone and refused. Raises GpuDriverError."""
    word = "on" if on else "off"
    users = processes_on(handle, gpu, "off" if on else "on")
    if users:
        raise GpuDriverError(
            pynvml.NVML_ERROR_IN_USE, f"GPU {gpu}: MIG cannot be switched {word} while {_pids(users)} the GPU; end that first"
        )
    with asking(f"switch MIG {word}", gpu):
        status = int(pynvml.nvmlDeviceSetMigMode(handle, int(on)))
    if status == pynvml.NVML_SUCCESS and mig_state(handle_of(gpu), gpu) == word:
        return
    with suppress(pynvml.NVMLError):
        pynvml.nvmlDeviceSetMigMode(handle, int(not on))
    raise GpuDriverError(
        status or pynvml.NVML_ERROR_RESET_REQUIRED,
        f"GPU {gpu}: MIG can be switched {word} only by a reset of the GPU: end everything that uses it, monitoring included, then "
        f"nvidia-smi -i {gpu} -mig {int(on)}, and nvidia-smi --gpu-reset -i {gpu} or a restart of the machine; then apply again",
    )


def _pids(users: Sequence[GpuProcess]) -> str:
    pids = sorted({process.pid for process in users})
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))} use{'' if len(pids) > 1 else 's'}"
