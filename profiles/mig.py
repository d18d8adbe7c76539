"""Legal MIG layouts of a GPU type under NVML's placement rules.

An instance at start slot s takes the memory slices s .. s + memory_slices - 1 and some of the GPU's compute slices, and the driver allows
at most max_count instances of a profile (nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

from profiles.gpu_types import GpuType, MigProfile

Layout = tuple[tuple[str, int], ...]
"""(profile name, start slot) of each instance, sorted by start slot."""


@dataclass(frozen=True, slots=True)
class _Instance:
    profile: MigProfile
    start: int
    memory_mask: int


@dataclass(frozen=True, slots=True)
class _Placed:
    """A legal set of instances in the order of _instances, with the slices it takes."""

    instances: tuple[_Instance, ...]
    memory_mask: int
    compute_slices: int

    def layout(self) -> Layout:
        return tuple((instance.profile.name, instance.start) for instance in self.instances)

    def fits(self, added: _Instance, compute_slices: int) -> bool:
        if self.memory_mask & added.memory_mask or self.compute_slices + added.profile.compute_slices > compute_slices:
            return False
        return sum(instance.profile is added.profile for instance in self.instances) < added.profile.max_count

    def plus(self, added: _Instance) -> _Placed:
        return _Placed((*self.instances, added), self.memory_mask | added.memory_mask, self.compute_slices + added.profile.compute_slices)


def _instances(gpu: GpuType) -> tuple[_Instance, ...]:
    """Every (profile, start) within the GPU's memory slices, by start slot."""
    offered = [
        _Instance(profile, start, ((1 << profile.memory_slices) - 1) << start)
        for profile in gpu.mig_profiles
        for start in profile.placement_starts
        if start + profile.memory_slices <= gpu.mig_memory_slices
    ]
    return tuple(sorted(offered, key=lambda instance: (instance.start, instance.profile.name)))


def _as_older_drivers_have_it(gpu: GpuType) -> GpuType:
    """The GPU type with the profiles of older drivers in place of those that took their slices."""
    older = [profile for profile in gpu.mig_profiles if profile.older_driver]
    replaced = {(profile.compute_slices, profile.memory_slices) for profile in older}
    kept = [profile for profile in gpu.mig_profiles if (profile.compute_slices, profile.memory_slices) not in replaced]
    return replace(gpu, mig_profiles=(*kept, *older))


def _as_drivers_have_it_now(gpu: GpuType) -> GpuType:
    return replace(gpu, mig_profiles=tuple(profile for profile in gpu.mig_profiles if not profile.older_driver))


def _legal_sets(gpu: GpuType) -> list[_Placed]:
    """Every legal set once: an instance is only added behind the last one in the order of _instances."""
    instances = _instances(gpu)
    found: list[_Placed] = []
    pending = [(_Placed((), 0, 0), 0)]
    while pending:
        placed, first = pending.pop()
        found.append(placed)
        for position in range(first, len(instances)):
            if placed.fits(instances[position], gpu.mig_compute_slices):
                pending.append((placed.plus(instances[position]), position + 1))
    return found


@lru_cache(maxsize=64)
def legal_layouts(gpu: GpuType) -> tuple[Layout, ...]:
    """Every legal set of (profile, start), the empty one included, sorted; only the empty one when the type has no MIG.

    Those of older drivers are among them: no set has profiles of both.
    """
    kinds = dict.fromkeys((_as_drivers_have_it_now(gpu), _as_older_drivers_have_it(gpu)))
    return tuple(sorted({placed.layout() for kind in kinds for placed in _legal_sets(kind)}))


@lru_cache(maxsize=64)
def maximal_layouts(gpu: GpuType) -> tuple[Layout, ...]:
    """The legal layouts that no instance can be added to, with all their start variants, sorted.

    Every legal layout of the profiles that drivers have now is a subset of at least one of them.
    """
    now = _as_drivers_have_it_now(gpu)
    instances = _instances(now)
    full = (placed for placed in _legal_sets(now) if not any(placed.fits(instance, gpu.mig_compute_slices) for instance in instances))
    return tuple(sorted(placed.layout() for placed in full))


@lru_cache(maxsize=256)
def counts_suffice(gpu: GpuType, layout: Layout) -> bool:
    """Whether naming the profiles of a layout, and no start slots, always ends in as many instances of each.

    True where there is an order in which they can be created such that every one fits, whatever legal slots the driver chooses. NVIDIA's
    mig-parted names counts only, and tries orders until one succeeds.
    """
    kind = _as_drivers_have_it_now(gpu)
    if not {name for name, _ in layout} <= {profile.name for profile in kind.mig_profiles}:
        kind = _as_older_drivers_have_it(gpu)
    instances = _instances(kind)

    def fits_anywhere(order: tuple[str, ...], placed: _Placed) -> bool:
        if not order:
            return True
        choices = [each for each in instances if each.profile.name == order[0] and placed.fits(each, gpu.mig_compute_slices)]
        return bool(choices) and all(fits_anywhere(order[1:], placed.plus(each)) for each in choices)

    orders = sorted(set(permutations(sorted(name for name, _ in layout))))
    return any(fits_anywhere(order, _Placed((), 0, 0)) for order in orders)
