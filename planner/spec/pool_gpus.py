"""The GPU type of each pool: from the catalogue, from a file in the catalogue's form, or declared where the pool is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from planner.plan.local_paths import is_local
from planner.spec.declared import DeclaredPool
from planner.spec.declared_gpu import DeclaredGpuType, DeclaredMig
from planner.spec.errors import SpecError, SpecProblem
from planner.spec.messages import problem_at, problems_of
from planner.spec.pools import Report
from planner.spec.yaml_tree import decode, parse
from profiles.catalogue import Catalogue, UnknownNameError
from profiles.gpu_types import GpuType, MigProfile


@dataclass(slots=True)
class GpuFiles:
    """Files of GPU types beside a fleet file, each read once; what is wrong inside one is put down in problems, at its place there."""

    folder: Path
    read: Callable[[Path], bytes]
    hashes: MutableMapping[str, str]
    problems: list[SpecProblem]
    _found: dict[str, DeclaredGpuType | None] = field(default_factory=dict)

    def declared(self, source: str, report: Callable[[str], None]) -> DeclaredGpuType | None:
        """The type that a file declares, None when it cannot be read; report gets why the file itself cannot be."""
        if source not in self._found:
            self._found[source] = None
            try:
                raw = self.read(self.folder / source)
            except (OSError, ValueError) as error:
                report(f"{source!r} cannot be read: {(error.strerror if isinstance(error, OSError) else None) or error}")
            else:
                self.hashes[source] = hashlib.sha256(raw).hexdigest()
                self._found[source] = self._parsed(str(self.folder / source), raw)
        return self._found[source]

    def _parsed(self, file: str, raw: bytes) -> DeclaredGpuType | None:
        if not raw.strip():
            self.problems.append(SpecProblem(file, 1, 1, "", "is empty; a GPU type has name, memory_usable, bandwidth and arithmetic"))
            return None
        try:
            root, problems = parse(file, decode(file, raw))
        except SpecError as error:
            self.problems.extend(error.problems)
            return None
        self.problems.extend(problems)
        if not isinstance(root.value, dict):
            self.problems.append(problem_at(file, root, (), "must be a mapping with name, memory_usable and so on"))
            return None
        try:
            return DeclaredGpuType.model_validate(root.plain())
        except ValidationError as error:
            self.problems.extend(problems_of(file, root, (), DeclaredGpuType, error))
            return None


def resolve_gpu_types(declared: Mapping[str, DeclaredPool], catalogue: Catalogue, files: GpuFiles, report: Report) -> dict[str, GpuType]:
    """GPU types by pool, without those with errors, which go to report."""
    found: dict[str, GpuType] = {}
    own: dict[str, tuple[str, GpuType]] = {}
    for pool, entry in declared.items():
        place = ("pools", pool, "gpu")
        told = entry.gpu
        if isinstance(told, str) and not is_local(told):
            found[pool] = catalogue.gpu(told)
            continue
        kind = files.declared(told, lambda message, place=place: report(place, message)) if isinstance(told, str) else told  # type: ignore[misc]
        if kind is None:
            continue
        gpu = _gpu_type(kind)
        first, other = own.setdefault(gpu.name.casefold(), (pool, gpu))
        problems = [*_known(gpu.name, catalogue), *_mig_problems(gpu)]
        if other != gpu:
            problems.append(f"{gpu.name} is declared in pool {first} with other facts; choose another name")
        for message in problems:
            report(place, f"{told}: {message}" if isinstance(told, str) else message)
        if not problems:
            found[pool] = gpu
    return found


def _known(name: str, catalogue: Catalogue) -> Iterator[str]:
    try:
        known = catalogue.gpu(name).name
    except UnknownNameError:
        return
    yield f"the catalogue has {name!r} already ({known}); choose another name for a GPU type of your own"


def _mig_problems(gpu: GpuType) -> Iterator[str]:
    seen: set[object] = set()
    for index, profile in enumerate(gpu.mig_profiles):
        where = f"mig.profiles[{index}] ({profile.name})"
        if profile.memory_mib > gpu.memory_usable_mib:
            yield f"{where}: memory_mib is {profile.memory_mib} MiB, the whole GPU gives {gpu.memory_usable_mib} MiB"
        if profile.compute_slices > gpu.mig_compute_slices:
            yield f"{where}: {profile.compute_slices} compute slices, the GPU has {gpu.mig_compute_slices}"
        late = [start for start in profile.placement_starts if start + profile.memory_slices > gpu.mig_memory_slices]
        if late:
            yield f"{where}: {profile.memory_slices} memory slices from {late[0]} are beyond the {gpu.mig_memory_slices} of the GPU"
        # two of one size would multiply the layouts without a gain
        keys = {profile.name, (profile.compute_slices, profile.memory_slices)}
        if keys & seen:
            yield f"{where}: has the name or the slices of a profile above; leave one out"
        seen |= keys


def _gpu_type(declared: DeclaredGpuType) -> GpuType:
    prices = declared.listed_prices_usd_per_h
    mig = declared.mig
    return GpuType(
        name=declared.name,
        # looked up by name alone, so that a copy of a catalogue file needs another name only
        aliases=(),
        memory_usable_mib=declared.memory_usable_mib or declared.memory_mib or 0,
        memory_bandwidth_gb_per_s=declared.memory_bandwidth_gb_per_s,
        bf16_tflops=declared.bf16_tflops,
        fp8_tflops=declared.fp8_tflops,
        link=declared.link,
        link_gb_per_s=declared.link_gb_per_s,
        pcie_gb_per_s=declared.pcie_gb_per_s,
        sm_count=declared.sm_count,
        compute_capability=declared.compute_capability,
        price_usd_per_h=median(prices.values()) if prices else None,
        mig_compute_slices=mig.compute_slices if mig else 0,
        mig_memory_slices=mig.memory_slices if mig else 0,
        mig_profiles=_profiles(mig) if mig else (),
        sources=declared.sources,
    )


def _profiles(mig: DeclaredMig) -> tuple[MigProfile, ...]:
    return tuple(MigProfile(**profile.model_dump()) for profile in mig.profiles)
