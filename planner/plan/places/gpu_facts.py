"""GPU types that a fleet declares itself: a plan carries their facts, so that it can be judged and used without the fleet file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import Field

from planner.plan.bounds import Mib, PlanPart, Some
from profiles.gpu_types import GpuType, MigProfile

# Far beyond any device: the fastest of today move 8,000 GB/s and do 20,000 TFLOP/s.
Speed = Annotated[float, Field(gt=0, le=1_000_000)]
# NVIDIA's GPUs have eight memory slices and seven compute slices.
SliceCount = Annotated[int, Field(ge=1, le=8)]
StartSlot = Annotated[int, Field(ge=0, le=7)]


class MigProfileFacts(PlanPart):
    """One MIG profile (profiles.gpu_types.MigProfile)."""

    name: str
    compute_slices: SliceCount
    memory_slices: SliceCount
    memory_mib: Mib
    sm_count: Some | None
    max_count: SliceCount
    placement_starts: tuple[StartSlot, ...]


class GpuFacts(PlanPart):
    """A declared GPU type (profiles.gpu_types.GpuType) but for its price, which the rules of its pools have."""

    name: str
    memory_usable_mib: Mib
    memory_bandwidth_gb_per_s: Speed
    bf16_tflops: Speed
    fp8_tflops: Speed | None
    link: Annotated[str, Field(pattern="^(nvswitch|pairs|pcie)$")]
    link_gb_per_s: Speed | None
    pcie_gb_per_s: Speed
    sm_count: Some | None
    compute_capability: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$")]
    mig_compute_slices: Annotated[int, Field(ge=0, le=8)]
    mig_memory_slices: Annotated[int, Field(ge=0, le=8)]
    mig_profiles: tuple[MigProfileFacts, ...]

    def gpu_type(self) -> GpuType:
        """The GPU type as the catalogue would give it."""
        facts = {name: getattr(self, name) for name in type(self).model_fields if name != "mig_profiles"}
        profiles = tuple(MigProfile(**profile.model_dump()) for profile in self.mig_profiles)
        return GpuType(**facts, mig_profiles=profiles, aliases=(), price_usd_per_h=None, sources={})


def gpu_facts(gpu: GpuType) -> GpuFacts:
    """The facts of a GPU type that a plan carries."""
    facts = {name: getattr(gpu, name) for name in GpuFacts.model_fields if name != "mig_profiles"}
    profiles = tuple(
        MigProfileFacts(**{name: getattr(profile, name) for name in MigProfileFacts.model_fields}) for profile in gpu.mig_profiles
    )
    return GpuFacts(**facts, mig_profiles=profiles)


def gpu_look_up(own: Iterable[GpuFacts], catalogue: Callable[[str], GpuType]) -> Callable[[str], GpuType]:
    """Finds GPU types by the names that a plan uses: its own by their exact names, all others in the catalogue, whose errors pass."""
    declared = {facts.name: facts.gpu_type() for facts in own}
    return lambda name: declared[name] if name in declared else catalogue(name)
