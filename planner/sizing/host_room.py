"""Whether machines have the cores and the memory that engines take of their hosts."""

from __future__ import annotations

from planner.plan import Refusal
from planner.sizing.candidates import Candidate
from planner.spec import FleetPool
from profiles.memory.host import host_needs


def too_much_for_host(candidate: Candidate, pool: FleetPool) -> Refusal | None:
    """Why the machine's part of a candidate does not fit what its GPUs may use of a node; None when it does."""
    cores, memory_mib = host_needs(candidate.gpus)
    has_cores = pool.host_cores // pool.gpus_per_node * candidate.gpus
    has_mib = pool.host_memory_mib // pool.gpus_per_node * candidate.gpus
    if cores > has_cores:
        reason = f"an engine takes {cores} host cores, its GPUs' part of the node is {has_cores}; raise host_cores"
    elif memory_mib > has_mib:
        reason = f"an engine takes {memory_mib} MiB of host memory, its GPUs' part of the node is {has_mib} MiB; raise host_memory"
    else:
        return None
    return Refusal(pool=pool.name, mode=candidate.mode, gpus=candidate.gpus, reason=reason)
