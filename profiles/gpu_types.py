"""GPU types and their MIG profiles: what the catalogue says about a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from profiles.settings import EngineSettings

# How the GPUs of one node are joined: a switch between all, bridges between pairs, or the PCIe bus only.
LINKS = ("nvswitch", "pairs", "pcie")


@dataclass(frozen=True, slots=True)
class MigProfile:
    """One MIG profile of a GPU type, in NVML's terms.

    An instance at start slot s occupies the memory slices s .. s + memory_slices - 1 and takes compute_slices of the GPU's compute
    slices. memory_mib is what the driver lists for the profile; it moves with the driver, so a live reading beats it. older_driver: what
    older drivers have instead of another profile of this GPU type, under another name; a layout may name it, none is made of it.
    """

    name: str
    compute_slices: int
    memory_slices: int
    memory_mib: int
    sm_count: int | None
    max_count: int
    placement_starts: tuple[int, ...]
    older_driver: bool = False


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """What vLLM does differently on a device that is no GPU.

    kv_block_tokens is the size of a KV block where no flag sets it; context_mib what one engine takes outside of weights, activations and
    KV pool: on a CPU, whose device memory is the host's, all of its processes. process_s passes before the first weight: imports and the
    engine's work compete for the same cores there.
    """

    kv_block_tokens: int
    async_scheduling: bool
    context_mib: int
    process_s: float


@dataclass(frozen=True, slots=True)
class GpuType:
    """One GPU type. TFLOPs are dense; link and PCIe speeds are one way; None means the fact is not known.

    memory_usable_mib is what the driver gives a process. link is one of LINKS. price_usd_per_h is per GPU, on demand, and None when no
    price is listed. sources names where each field (or group of fields) comes from and takes no part in comparisons. engine is None
    for GPUs.
    """

    name: str
    aliases: tuple[str, ...]
    memory_usable_mib: int
    memory_bandwidth_gb_per_s: float
    bf16_tflops: float
    fp8_tflops: float | None
    link: str
    link_gb_per_s: float | None
    pcie_gb_per_s: float
    sm_count: int | None
    compute_capability: str
    price_usd_per_h: float | None
    mig_compute_slices: int
    mig_memory_slices: int
    mig_profiles: tuple[MigProfile, ...]
    sources: Mapping[str, str] = field(compare=False, repr=False)
    engine: EngineTraits | None = None

    def mig_profile(self, name: str) -> MigProfile:
        """The MIG profile of that name; ValueError lists the profiles there are."""
        for profile in self.mig_profiles:
            if profile.name == name:
                return profile
        known = ", ".join(profile.name for profile in self.mig_profiles) or "none"
        raise ValueError(f"GPU type {self.name} has no MIG profile {name!r} (known: {known})")


def settings_on(gpu: GpuType, settings: EngineSettings) -> EngineSettings:
    """The settings as an engine on this type of device has them where no flag says otherwise."""
    if gpu.engine is None:
        return settings
    return replace(settings, block_size=gpu.engine.kv_block_tokens, async_scheduling=gpu.engine.async_scheduling)
