"""The KV cache that a running engine must have, in the blocks that its metrics count."""

from __future__ import annotations

from collections.abc import Callable

from planner.plan import Replica, State
from planner.plan.vllm_args import loaded
from profiles.catalogue import builtin
from profiles.gpu_types import settings_on
from profiles.memory.kv import has_cache, kv_blocks
from ullage.checking import FindArchitecture

_BYTES_PER_MIB = 1 << 20

# The blocks that the ledger predicts are within 0.4 % of the logged ones; an engine that lacks a part as small as this is left alone.
_SPARE_FRACTION = 0.02


def least_kv_blocks(find: FindArchitecture) -> Callable[[Replica, State], int | None]:
    """Blocks that the floor of a replica's KV pool makes, less a small part.

    None where that cannot be said: the plan says no floor, the model has no such cache, or its GPU type is not in the catalogue.
    """

    def least(replica: Replica, state: State) -> int | None:
        gpu_types = {gpu.gpu_type for gpu in state.gpus if gpu.node == replica.node and gpu.index in replica.gpus}
        if not replica.kv_floor_mib or len(gpu_types) != 1:
            return None
        try:
            gpu = builtin().gpu(gpu_types.pop())
            architecture = loaded(find(replica.args.model), replica.args, find)
        except (ValueError, LookupError):
            return None
        if not has_cache(architecture):
            return None
        floor_bytes = min(replica.kv_floor_mib * _BYTES_PER_MIB, replica.args.kv_cache_memory_bytes)
        settings = settings_on(gpu, replica.args.settings(replica.engine_version))
        return int(kv_blocks(architecture, settings, floor_bytes) * (1 - _SPARE_FRACTION))

    return least
