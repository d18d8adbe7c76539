"""Where a replica may live: what a pool offers it."""

from __future__ import annotations

from dataclasses import dataclass

from planner.spec.fleet import Sharing
from profiles.gpu_types import GpuType, MigProfile

# Time slices cost context switches and cold caches. No public pairwise table exists for stock vLLM, so every step on a
# shared GPU is assumed to take 10 % longer until the pair has been measured together.
ASSUMED_INTERFERENCE_FACTOR = 1.10


@dataclass(frozen=True, slots=True)
class Site:
    """Where candidates may live: one GPU of a pool, of which headroom_mib stay free and others hold taken_mib.

    interference_factor lengthens steps beside neighbours.
    """

    pool: str
    gpu: GpuType
    headroom_mib: int
    modes: frozenset[Sharing]
    block_sizes: tuple[int, ...]
    max_active_residents: int
    mig_profiles: tuple[MigProfile, ...] = ()
    interference_factor: float = ASSUMED_INTERFERENCE_FACTOR
    taken_mib: int = 0

    def memory_mib(self, mig: MigProfile | None) -> int:
        """What engines may use of a GPU, or of a MIG slice, which bears its part of the headroom."""
        kept_mib = self.headroom_mib + self.taken_mib
        if mig is None:
            return self.gpu.memory_usable_mib - kept_mib
        return mig.memory_mib - -(-kept_mib * mig.memory_slices // self.gpu.mig_memory_slices)
