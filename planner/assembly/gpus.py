"""One line per GPU: how it is used, what its memory holds and how busy it will be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from planner.plan import GpuMode, GpuPlan, MigPlace, NodePlan, Replica, State, is_shared
from planner.spec import FleetPool
from profiles.gpu_types import GpuType
from profiles.latency.interference import measured_factor
from profiles.store.measurements import Measurements

_NOTHING = Measurements()


def build_gpus(
    nodes: Sequence[NodePlan],
    pools: Mapping[str, FleetPool],
    replicas: Sequence[Replica],
    headroom_mib: int,
    state: State,
    measurements: Measurements = _NOTHING,
) -> tuple[GpuPlan, ...]:
    """Every GPU of the fleet, used or free, in the order of nodes and indexes; pools by name, state is what runs now.

    measurements say of shared GPUs whether what neighbours cost each other was measured.
    """
    residents: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
    for replica in replicas:
        for gpu in replica.gpus:
            residents[replica.node, gpu].append(replica)
    now = {(gpu.node, gpu.index, gpu.gpu_type): gpu.mig_layout for gpu in state.gpus}
    taken_mib = {(f"{pool.name}-{item.node}", item.gpu): item.memory_mib for pool in pools.values() for item in pool.taken}
    return tuple(
        _gpu(
            node,
            index,
            pools[node.pool],
            residents[node.name, index],
            (headroom_mib, taken_mib.get((node.name, index), 0)),
            now.get((node.name, index, node.gpu_type), ()),
        ).model_copy(update={"interference": interference(residents[node.name, index], node.gpu_type, measurements)})
        for node in nodes
        for index in range(node.gpu_count)
    )


def _layout(pool: FleetPool, residents: Sequence[Replica], now: tuple[MigPlace, ...]) -> tuple[MigPlace, ...]:
    """MIG instances of a GPU: a fixed layout stays whole, otherwise what is there stays as long as it has all seats that are needed."""
    if pool.mig == "off":
        return ()
    if pool.mig == "fixed":
        return tuple(MigPlace(profile=profile, start=start) for profile, start in pool.mig_layout)
    seats = tuple(sorted((replica.mig for replica in residents if replica.mig), key=lambda place: place.start))
    return now if set(seats) <= set(now) else seats


def _gpu(
    node: NodePlan,
    index: int,
    pool: FleetPool,
    residents: Sequence[Replica],
    kept_mib: tuple[int, int],
    layout_now: tuple[MigPlace, ...],
) -> GpuPlan:
    """kept_mib: what stays free, and what others have."""
    headroom_mib, taken_mib = kept_mib
    gpu = pool.gpu
    mode: GpuMode = residents[0].mode if residents else "free"
    layout = _layout(pool, residents, layout_now)
    weights_mib = sum(replica.ledger.weights_mib for replica in residents)
    kv_mib = sum(replica.ledger.kv_mib for replica in residents)
    used_mib = sum(replica.ledger.total_mib for replica in residents)
    return GpuPlan(
        node=node.name,
        index=index,
        pool=node.pool,
        gpu_type=node.gpu_type,
        mode=mode,
        mig_layout=layout,
        replicas=tuple(sorted(replica.name for replica in residents)),
        memory_mib=gpu.memory_usable_mib,
        headroom_mib=headroom_mib,
        weights_mib=weights_mib,
        kv_mib=kv_mib,
        overhead_mib=used_mib - weights_mib - kv_mib,
        free_mib=gpu.memory_usable_mib - used_mib - taken_mib,
        taken_mib=taken_mib,
        busy_fraction=_busy_fraction(residents, layout, gpu),
    )


def interference(residents: Sequence[Replica], gpu_type: str, measurements: Measurements) -> Literal["none", "assumed", "measured"]:
    """What is known of the time neighbours on a shared GPU cost each other: measured only if every pair of them was."""
    mode = residents[0].mode if len(residents) > 1 else "exclusive"
    if not is_shared(mode):
        return "none"
    known = all(
        measured_factor(measurements, one.catalogue_model, other.catalogue_model, gpu_type, mode) is not None
        for one, other in combinations(residents, 2)
    )
    return "measured" if known else "assumed"


def _busy_fraction(residents: Sequence[Replica], layout: Sequence[MigPlace], gpu: GpuType) -> float:
    """Share of time the GPU has work: some resident is active, or with MIG the busy part of its compute slices."""
    if layout:
        slices = {profile.name: profile.compute_slices for profile in gpu.mig_profiles}
        busy = sum(replica.forecast.busy_fraction * slices[replica.mig.profile] for replica in residents if replica.mig)
        return busy / gpu.mig_compute_slices
    return 1.0 - math.prod(1.0 - replica.forecast.busy_fraction for replica in residents)
