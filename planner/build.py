"""From a fleet and what runs now to a Problem in integers, keeping the way back to the candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.candidates import Candidate, Rejection, Site, candidates
from planner.desired import engine_args, gpu_mode
from planner.groups import ServiceGroup, service_groups
from planner.plan import Replica, State
from planner.problem import Demand, MigSlot, Placed, Pool, Problem, Shape
from planner.spec import Fleet
from planner.spec import Pool as PoolSpec
from profiles.gpus import MigProfile
from profiles.mig import maximal_layouts

MICRO = 1_000_000

# Replicas of a demand without a limit: more than any fleet has GPUs.
UNLIMITED = 1_000_000

# vLLM runs an API server, an engine core and one worker per GPU, each of which wants a core of its own.
CORES_PER_ENGINE = 2

# Host memory of one engine's processes: 1.6 GB measured for a CPU build with a tiny model in four processes, doubled for CUDA
# contexts and pinned buffers of each worker.
HOST_MEMORY_PER_PROCESS_MIB = 2048


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A Problem and what its indexes mean: candidates[i] is shape i, groups[i] demand i, pools[i] pool i."""

    problem: Problem
    candidates: tuple[Candidate, ...]
    groups: tuple[ServiceGroup, ...]
    pools: tuple[PoolSpec, ...]
    rejections: tuple[Rejection, ...]


def build(fleet: Fleet, state: State, band_quantile: float | None = None) -> Blueprint:
    """All candidates of all groups on all pools, as a Problem.

    With band_quantile step times are taken as known at that quantile of their error band: what if engines turn out so fast, or so slow?
    """
    groups = service_groups(fleet)
    pools = tuple(sorted(fleet.pools, key=lambda pool: pool.name))
    found: list[Candidate] = []
    rejected: list[Rejection] = []
    for group in groups:
        for pool in pools:
            if group.allows(pool.name):
                good, bad = candidates(group, _site(fleet, pool), fleet.policy.sizing_quantile, fleet.measurements, band_quantile)
                cramped = [_too_much_for_host(candidate, pool) for candidate in good]
                found.extend(candidate for candidate, rejection in zip(good, cramped, strict=True) if rejection is None)
                rejected.extend([*bad, *(rejection for rejection in cramped if rejection is not None)])
    demand_of = {group.name: i for i, group in enumerate(groups)}
    pool_of = {pool.name: i for i, pool in enumerate(pools)}
    shapes = tuple(_shape(candidate, demand_of[candidate.group.name], pool_of[candidate.site.pool]) for candidate in found)
    problem = Problem(
        pools=tuple(_pool(fleet, pool) for pool in pools),
        demands=tuple(_demand(group, groups) for group in groups),
        shapes=shapes,
        current=_current(found, {pool.name: pool for pool in pools}, state),
    )
    return Blueprint(problem, tuple(found), groups, pools, tuple(rejected))


def _host_needs(candidate: Candidate) -> tuple[int, int]:
    """Cores and MiB of host memory of one replica."""
    processes = CORES_PER_ENGINE + candidate.gpus
    return processes, processes * HOST_MEMORY_PER_PROCESS_MIB


def _too_much_for_host(candidate: Candidate, pool: PoolSpec) -> Rejection | None:
    """Why the machine's part of a candidate does not fit what its GPUs may use of a node; None when it does."""
    cores, memory_mib = _host_needs(candidate)
    has_cores = pool.host_cores // pool.gpus_per_node * candidate.gpus
    has_mib = pool.host_memory_mib // pool.gpus_per_node * candidate.gpus
    if cores > has_cores:
        reason = f"an engine takes {cores} host cores, its GPUs' part of the node is {has_cores}; raise host_cores"
    elif memory_mib > has_mib:
        reason = f"an engine takes {memory_mib} MiB of host memory, its GPUs' part of the node is {has_mib} MiB; raise host_memory"
    else:
        return None
    return Rejection(candidate.group.name, pool.name, candidate.mode, candidate.gpus, reason)


def _site(fleet: Fleet, pool: PoolSpec) -> Site:
    return Site(
        pool=pool.name,
        gpu=pool.gpu,
        headroom_mib=fleet.policy.headroom_mib,
        modes=frozenset(pool.sharing),
        block_sizes=pool.block_sizes,
        max_active_residents=fleet.policy.max_active_residents,
        mig_profiles=_mig_profiles(pool),
    )


def _layouts(pool: PoolSpec) -> tuple[tuple[MigSlot, ...], ...]:
    if pool.mig == "off":
        return ()
    layouts = (pool.mig_layout,) if pool.mig == "fixed" else maximal_layouts(pool.gpu)
    return tuple(tuple(MigSlot(profile, start) for profile, start in layout) for layout in layouts)


def _mig_profiles(pool: PoolSpec) -> tuple[MigProfile, ...]:
    names = {slot.profile for layout in _layouts(pool) for slot in layout}
    return tuple(profile for profile in pool.gpu.mig_profiles if profile.name in names)


def _pool(fleet: Fleet, pool: PoolSpec) -> Pool:
    return Pool(
        name=pool.name,
        nodes=pool.max_nodes,
        gpus_per_node=pool.gpus_per_node,
        memory_mib=pool.gpu.memory_usable_mib - fleet.policy.headroom_mib,
        price_microusd_per_h=round(pool.price_usd_per_h * MICRO),
        billing="node" if pool.ownership == "rentable" else "gpu",
        min_nodes=pool.min_nodes if pool.ownership == "rentable" else 0,
        max_active_residents=fleet.policy.max_active_residents,
        block_sizes=pool.block_sizes,
        mig_layouts=_layouts(pool),
        host_cores_per_gpu=pool.host_cores // pool.gpus_per_node,
        host_memory_mib_per_gpu=pool.host_memory_mib // pool.gpus_per_node,
    )


def _demand(group: ServiceGroup, groups: Sequence[ServiceGroup]) -> Demand:
    return Demand(
        name=group.name,
        rate_microrps=tuple(math.ceil(rate_rps * MICRO) for rate_rps in group.windows_rps),
        priority=group.priority,
        min_replicas=group.min_replicas,
        not_with=frozenset(i for i, other in enumerate(groups) if other.name in group.not_with or group.name in other.not_with),
        tolerate_nodes=group.tolerate_nodes,
        max_replicas=UNLIMITED if group.max_replicas is None else group.max_replicas,
    )


def _shape(candidate: Candidate, demand: int, pool: int) -> Shape:
    host_cores, host_memory_mib = _host_needs(candidate)
    peak_rps = candidate.group.peak_rps
    # A replica sized for demand / n must count as exactly its share, or n of them would miss the demand by rounding.
    parts = round(peak_rps / candidate.capacity_rps)
    even = parts >= 1 and math.isclose(parts * candidate.capacity_rps, peak_rps, rel_tol=1e-9)
    microrps = -(-math.ceil(peak_rps * MICRO) // parts) if even else math.floor(candidate.capacity_rps * MICRO)
    return Shape(
        name=_shape_name(candidate),
        demand=demand,
        pool=pool,
        mode=candidate.mode,
        memory_mib=candidate.ledger.total_mib,
        capacity_microrps=microrps,
        gpus=candidate.gpus,
        mig_profile=candidate.mig.name if candidate.mig else None,
        compute_permille=candidate.compute_permille,
        active_permille=candidate.active_permille,
        max_active=candidate.max_active,
        host_cores=host_cores,
        host_memory_mib=host_memory_mib,
    )


def _shape_name(candidate: Candidate) -> str:
    how = (
        candidate.mig.name if candidate.mig else f"1/{candidate.max_active}" if candidate.mode == "time_shared" else f"{candidate.gpus} GPU"
    )
    return f"{candidate.group.name} on {candidate.site.pool}, {how}, {candidate.capacity_rps:.4g}/s"


def _current(found: Sequence[Candidate], pools: Mapping[str, PoolSpec], state: State) -> tuple[Placed, ...]:
    """Running replicas that are exactly one of the candidates: the physical step keeps them where they are."""
    index = {_fingerprint(candidate): i for i, candidate in reversed(list(enumerate(found)))}
    placed: list[Placed] = []
    for replica in state.replicas:
        shape = index.get(_running_fingerprint(replica))
        node = node_index(replica.node, pools.get(replica.pool))
        if shape is not None and node is not None:
            placed.append(Placed(shape, node, replica.gpus, replica.mig.start if replica.mig else None))
    return tuple(sorted(placed, key=lambda item: (item.shape, item.node, item.gpus, item.mig_start or 0)))


def _fingerprint(candidate: Candidate) -> tuple[object, ...]:
    args = engine_args(candidate, "", 0)
    return (candidate.site.pool, gpu_mode(candidate), candidate.max_active, candidate.mig.name if candidate.mig else None, args)


def _running_fingerprint(replica: Replica) -> tuple[object, ...]:
    args = replica.args.model_copy(update={"host": "", "port": 0})
    return (replica.pool, replica.mode, replica.max_active_residents, replica.mig.profile if replica.mig else None, args)


def node_name(pool: PoolSpec, index: int) -> str:
    """Name of a pool's node: the pool's name and a number from 0."""
    return f"{pool.name}-{index}"


def node_index(name: str, pool: PoolSpec | None) -> int | None:
    """The number of a node of that name, None when the pool has no such node."""
    number = name.rpartition("-")[2]
    if pool is None or not number.isdecimal() or int(number) >= pool.max_nodes:
        return None
    return int(number) if node_name(pool, int(number)) == name else None
