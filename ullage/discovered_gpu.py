"""A GPU type in the fleet file's own form, where the catalogue does not have it, or where the driver tells other facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from executor.nvml.gpu_readings import NvmlGpu
from executor.nvml.gpu_speeds import GpuSpeeds
from executor.nvml.mig_geometry import MigOffer
from profiles.catalogue import Catalogue, UnknownNameError
from profiles.gpu_types import GpuType, MigProfile

# Our choice: a quarter of the default policy.headroom, which has room for what drivers keep for themselves.
_SAME_MEMORY_MIB = 256


@dataclass(frozen=True, slots=True)
class DeclaredFacts:
    """What stands under `gpu` in a pool: a name of the catalogue, or fields; with a remark for people."""

    fields: str | dict[str, Any]
    remark: str


def name_from(text: str) -> str:
    """A name for the fleet file from what a device is called.

    >>> name_from("Tesla V100-SXM2-16GB (rev. A)")
    'Tesla-V100-SXM2-16GB-rev.-A'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:50].strip("-._") or "gpu"


def differences(gpu: NvmlGpu, known: GpuType) -> Iterator[str]:
    """What the driver tells otherwise than the catalogue, as far as a plan would be wrong by it."""
    usable_mib = gpu.memory_usable_mib
    if usable_mib is not None and abs(usable_mib - known.memory_usable_mib) > _SAME_MEMORY_MIB:
        yield f"{usable_mib} MiB usable, the catalogue has {known.memory_usable_mib}"
    if gpu.mig != "on":
        return
    for profile in known.mig_profiles:
        if profile.older_driver:
            continue
        offer = offer_of(gpu, profile)
        if offer is None:
            yield f"no MIG profile {profile.name}"
        elif abs(offer.memory_mib - profile.memory_mib) > _SAME_MEMORY_MIB:
            yield f"{profile.name} has {offer.memory_mib} MiB, in the catalogue {profile.memory_mib}"
        elif offer.starts != profile.placement_starts:
            yield f"{profile.name} begins at {offer.starts}, in the catalogue at {profile.placement_starts}"


def offer_of(gpu: NvmlGpu, profile: MigProfile) -> MigOffer | None:
    """The driver's profile of the same slices."""
    slices = profile.compute_slices, profile.memory_slices
    return next((offer for offer in gpu.offers if offer.plain and (offer.compute_slices, offer.memory_slices) == slices), None)


def catalogue_profile(gpu: NvmlGpu, name: str, known: GpuType | None) -> str | None:
    """The catalogue's name of a driver's profile, None where it has none such."""
    for profile in () if known is None else known.mig_profiles:
        offer = offer_of(gpu, profile)
        if offer is not None and offer.name == name and not profile.older_driver:
            return profile.name
    return None


def declared_anew(gpu: NvmlGpu, speeds: GpuSpeeds, known: GpuType | None, catalogue: Catalogue, found: Sequence[str]) -> DeclaredFacts:
    """All facts of a type under a name of its own: of the catalogue's type where there is one, and live ones above them."""
    if known is not None:
        fields = {"name": _free_name(f"{known.name}-live", catalogue), **_catalogue_facts(known), **_live_facts(gpu)}
        return DeclaredFacts(fields, f"{known.name}, but: {'; '.join(found)}; measurements of {known.name} do not count for it")
    estimated, missing = _estimated(speeds, catalogue)
    fields = {"name": _free_name(name_from(gpu.name.removeprefix("NVIDIA ")), catalogue), **_live_facts(gpu), **estimated}
    if "memory_usable_mib" not in fields:
        fields["memory_usable_mib"] = min(item.memory_usable_mib for item in catalogue.gpus() if item.engine is None)
        missing = (*missing, "memory_usable_mib")
    remark = f"the catalogue does not have {gpu.name}: speeds follow from clocks and widths, its data sheet knows better"
    if missing:
        remark += f"; the driver does not tell {', '.join(missing)}, and the least of the catalogue stands there: replace it"
    return DeclaredFacts(fields, remark)


def _catalogue_facts(known: GpuType) -> dict[str, Any]:
    names = ("memory_usable_mib", "memory_bandwidth_gb_per_s", "bf16_tflops", "fp8_tflops", "link", "link_gb_per_s", "pcie_gb_per_s")
    facts = {name: getattr(known, name) for name in (*names, "sm_count", "compute_capability")}
    if known.price_usd_per_h is not None:
        facts["listed_prices_usd_per_h"] = {"catalogue": known.price_usd_per_h}
    return {name: value for name, value in facts.items() if value is not None}


def _live_facts(gpu: NvmlGpu) -> dict[str, Any]:
    facts: dict[str, Any] = {"compute_capability": gpu.compute_capability}
    if gpu.memory_usable_mib is not None:
        facts["memory_usable_mib"] = gpu.memory_usable_mib
    plain = [offer for offer in gpu.offers if offer.plain and offer.starts]
    if plain:
        facts["mig"] = {
            "compute_slices": max(offer.compute_slices for offer in plain),
            "memory_slices": max(offer.memory_slices + max(offer.starts) for offer in plain),
            "profiles": [_profile(offer, gpu.memory_usable_mib) for offer in plain],
        }
    return facts


def _profile(offer: MigOffer, usable_mib: int | None) -> dict[str, Any]:
    return {
        "name": offer.name,
        "compute_slices": offer.compute_slices,
        "memory_slices": offer.memory_slices,
        # the driver counts some of its own memory into the instance that is the whole GPU
        "memory_mib": offer.memory_mib if usable_mib is None else min(offer.memory_mib, usable_mib),
        "sm_count": offer.sm_count,
        "max_count": offer.max_count,
        "placement_starts": list(offer.starts),
    }


def _estimated(speeds: GpuSpeeds, catalogue: Catalogue) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Speeds, and the names of those that nobody knows."""
    others = [gpu for gpu in catalogue.gpus() if gpu.engine is None]
    told = {"memory_bandwidth_gb_per_s": speeds.memory_bandwidth_gb_per_s, "bf16_tflops": speeds.bf16_tflops}
    least = {name: min(float(getattr(gpu, name)) for gpu in others) for name in told}
    facts: dict[str, Any] = {name: round(least[name] if value is None else value, 1) for name, value in told.items()}
    if speeds.sm_count:
        facts["sm_count"] = speeds.sm_count
    return facts, tuple(name for name, value in told.items() if value is None)


def _free_name(name: str, catalogue: Catalogue) -> str:
    """A name that the catalogue does not have."""
    try:
        catalogue.gpu(name)
    except UnknownNameError:
        return name
    return _free_name(f"{name}-live", catalogue)
