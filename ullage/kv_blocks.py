"""The KV cache that a running engine must have, in the blocks that its metrics count."""

from __future__ import annotations

from collections.abc import Callable

from planner.plan import Replica
from planner.plan.vllm_args import loaded
from profiles.memory.kv import has_cache, kv_blocks
from ullage.checking import FindArchitecture

_BYTES_PER_MIB = 1 << 20


def least_kv_blocks(find: FindArchitecture) -> Callable[[Replica], int | None]:
    """Blocks that the floor of a replica's KV pool makes; None where the plan says no floor or the model has no such cache."""

    def least(replica: Replica) -> int | None:
        if not replica.kv_floor_mib:
            return None
        try:
            architecture = loaded(find(replica.args.model), replica.args, find)
        except (ValueError, LookupError):
            return None
        if not has_cache(architecture):
            return None
        floor_bytes = min(replica.kv_floor_mib * _BYTES_PER_MIB, replica.args.kv_cache_memory_bytes)
        return kv_blocks(architecture, replica.args.settings(replica.engine_version), floor_bytes)

    return least
