"""One line per GPU: how it is used, what its memory holds and how busy it will be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from planner.plan import GpuMode, GpuPlan, MigPlace, NodePlan, Replica
from profiles.gpus import GpuType


def build_gpus(
    nodes: Sequence[NodePlan], gpu_types: Mapping[str, GpuType], replicas: Sequence[Replica], headroom_mib: int
) -> tuple[GpuPlan, ...]:
    """Every GPU of the fleet, used or free, in the order of nodes and indexes."""
    residents: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
    for replica in replicas:
        for gpu in replica.gpus:
            residents[replica.node, gpu].append(replica)
    return tuple(
        _gpu(node, index, gpu_types[node.gpu_type], residents[node.name, index], headroom_mib)
        for node in nodes
        for index in range(node.gpu_count)
    )


def _gpu(node: NodePlan, index: int, gpu: GpuType, residents: Sequence[Replica], headroom_mib: int) -> GpuPlan:
    mode: GpuMode = residents[0].mode if residents else "free"
    layout = sorted((replica.mig for replica in residents if replica.mig), key=lambda place: place.start)
    weights_mib = sum(replica.ledger.weights_mib for replica in residents)
    kv_mib = sum(replica.ledger.kv_mib for replica in residents)
    used_mib = sum(replica.ledger.total_mib for replica in residents)
    return GpuPlan(
        node=node.name,
        index=index,
        pool=node.pool,
        gpu_type=node.gpu_type,
        mode=mode,
        mig_layout=tuple(layout),
        replicas=tuple(sorted(replica.name for replica in residents)),
        memory_mib=gpu.memory_usable_mib,
        headroom_mib=headroom_mib,
        weights_mib=weights_mib,
        kv_mib=kv_mib,
        overhead_mib=used_mib - weights_mib - kv_mib,
        free_mib=gpu.memory_usable_mib - used_mib,
        busy_fraction=_busy_fraction(residents, layout, gpu),
        interference="assumed" if mode == "time_shared" and len(residents) > 1 else "none",
    )


def _busy_fraction(residents: Sequence[Replica], layout: Sequence[MigPlace], gpu: GpuType) -> float:
    """Share of time the GPU has work: some resident is active, or with MIG the busy part of its compute slices."""
    if layout:
        slices = {profile.name: profile.compute_slices for profile in gpu.mig_profiles}
        busy = sum(replica.forecast.busy_fraction * slices[replica.mig.profile] for replica in residents if replica.mig)
        return busy / gpu.mig_compute_slices
    return 1.0 - math.prod(1.0 - replica.forecast.busy_fraction for replica in residents)
