"""Where a replica may live: what a pool offers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.plan import SharedMode
from planner.spec.fleet import Sharing
from profiles.gpu_types import GpuType, MigProfile

# Time slices cost context switches and cold caches, and under MPS neighbours share the caches. No public pairwise table exists for stock
# vLLM, so every step on a shared GPU is assumed to take 10 % longer until the pair has been measured together.
ASSUMED_INTERFERENCE_FACTOR = 1.10


@dataclass(frozen=True, slots=True)
class Site:
    """Where candidates may live: one GPU of a pool, of which headroom_mib stay free and others hold taken_mib.

    interference_factors lengthen steps beside neighbours, by how they share the GPU.
    """

    pool: str
    gpu: GpuType
    headroom_mib: int
    modes: frozenset[Sharing]
    block_sizes: tuple[int, ...]
    max_active_residents: int
    mig_profiles: tuple[MigProfile, ...] = ()
    interference_factors: Mapping[SharedMode, float] = field(default_factory=dict, hash=False)
    taken_mib: int = 0

    def interference_factor(self, mode: SharedMode) -> float:
        """By how much steps are longer beside neighbours that share in this way: what is assumed where nothing is known."""
        return self.interference_factors.get(mode, ASSUMED_INTERFERENCE_FACTOR)

    def memory_mib(self, mig: MigProfile | None) -> int:
        """What engines may use of a GPU, or of a MIG slice, which bears its part of the headroom."""
        kept_mib = self.headroom_mib + self.taken_mib
        if mig is None:
            return self.gpu.memory_usable_mib - kept_mib
        return mig.memory_mib - -(-kept_mib * mig.memory_slices // self.gpu.mig_memory_slices)
