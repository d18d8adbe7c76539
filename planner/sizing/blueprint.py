"""From a fleet and what runs now to a Problem in integers, keeping the way back to the candidates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.demand.joint import JointWindow
from planner.hosts import address_of, is_loopback
from planner.plan import Refusal, State
from planner.problem import MICRO, Demand, MigSlot, Placed, Pool, Problem, Shape
from planner.sizing.activity import ANY
from planner.sizing.candidates import Candidate, candidates
from planner.sizing.current import Grounds, current
from planner.sizing.groups import ServiceGroup, joint_demand
from planner.sizing.host_room import too_much_for_host
from planner.sizing.neighbours import Neighbours
from planner.sizing.parts import Part, node_name, parts
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import Sizing
from planner.spec import Fleet, FleetPool, Policy
from profiles.gpu_types import MigProfile
from profiles.memory.host import host_needs
from profiles.mig import maximal_layouts

# What starts take for a while is rounded up to whole GiB.
START_STEP_MIB = 1024

# Replicas of a demand without a limit: more than any fleet has GPUs.
UNLIMITED = 1_000_000

NOBODY: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A Problem and what its indexes mean: candidates[i] is shape i, groups[i] demand i, pools[i] pool i.

    Where others use GPUs of a pool, several pools of the Problem are parts of it: pools[i] then is the declared pool with the
    nodes of part i only, and parts[i] knows where they are.
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    groups: tuple[ServiceGroup, ...]
    pools: tuple[FleetPool, ...]
    parts: tuple[Part, ...]
    windows: tuple[JointWindow, ...]
    # why some ways of running a group are impossible, by its name
    refusals: Mapping[str, tuple[Refusal, ...]]

    def node_name(self, pool: int, node: int) -> str:
        """Name of the machine that a node of the Problem is, or is a part of."""
        return node_name(self.parts[pool].pool, self.parts[pool].places[node][0])

    def real(self, placed: Sequence[Placed]) -> tuple[Placed, ...]:
        """Places with the numbers of the declared pools' nodes and GPUs."""
        return tuple(self.parts[self.problem.shapes[item.shape].pool].real(item) for item in placed)


# Sizes of a group's replicas on a site, and why others are none: planner.sizing.candidates, or what remembers its answers.
FindCandidates = Callable[[ServiceGroup, Site, Sizing], tuple[tuple[Candidate, ...], tuple[Refusal, ...]]]


def build(
    fleet: Fleet,
    state: State,
    band_quantile: float | None = None,
    slower: Mapping[str, float] = NOBODY,
    find: FindCandidates = candidates,
) -> Blueprint:
    """All candidates of all groups on all pools, as a Problem.

    With band_quantile step times are taken at that quantile of their error band, instead of the policy's: what if engines turn out so fast,
    or so slow? slower holds, by served name, by how much longer than known steps are taken to be. find gives the sizes of replicas.
    """
    step_quantile = fleet.policy.risk.step_quantile if band_quantile is None else band_quantile
    sizing = Sizing(fleet.policy.risk.attainment_fraction, fleet.measurements, step_quantile, slower)
    groups, windows = joint_demand(fleet)
    neighbours = Neighbours(fleet, groups)
    own = [part for pool in sorted(fleet.pools, key=lambda pool: pool.name) for part in parts(pool)]
    sites = [_site(fleet, part) for part in own]
    found: list[tuple[Candidate, int]] = []
    refused: defaultdict[str, list[Refusal]] = defaultdict(list)
    for group in groups:
        offers: dict[tuple[str, int], tuple[Candidate, ...]] = {}
        for index, part in enumerate(own):
            if group.allows(part.pool.name):
                key = (part.pool.name, part.taken_mib)
                if key not in offers:
                    site = replace(sites[index], interference_factors=neighbours.interference_factors(group, part.pool))
                    offers[key], bad = _offers(group, part.pool, site, sizing, find)
                    refused[group.name].extend(bad)
                found.extend((candidate, index) for candidate in offers[key] if candidate.gpus <= part.gpus_per_node)
    runs = current(found, own, Grounds(groups, sites, neighbours, sizing), state)
    demand_of = {group.name: i for i, group in enumerate(groups)}
    shapes = tuple(_shape(candidate, demand_of[candidate.group.name], pool, fleet.policy) for candidate, pool in found)
    problem = Problem(
        pools=tuple(_pool(fleet, part) for part in own),
        demands=tuple(_demand(group, neighbours.apart_from(group)) for group in groups),
        shapes=shapes,
        current=runs,
    )
    return Blueprint(
        problem=problem,
        candidates=tuple(candidate for candidate, _ in found),
        groups=groups,
        pools=tuple(_declared(part) for part in own),
        parts=tuple(own),
        windows=windows,
        refusals={name: tuple(listed) for name, listed in refused.items()},
    )


def _offers(
    group: ServiceGroup, pool: FleetPool, site: Site, sizing: Sizing, find: FindCandidates
) -> tuple[tuple[Candidate, ...], list[Refusal]]:
    """Candidates of a group on GPUs of a pool that their machines can hold, and why others are none."""
    good, bad = find(group, site, sizing)
    cramped = [too_much_for_host(candidate, pool) for candidate in good]
    fitting = tuple(candidate for candidate, refusal in zip(good, cramped, strict=True) if refusal is None)
    return fitting, [*bad, *(refusal for refusal in cramped if refusal is not None)]


def _declared(part: Part) -> FleetPool:
    nodes = len(part.places)
    return (
        part.pool.model_copy(update={"nodes": nodes, "max_nodes": nodes, "gpus_per_node": part.gpus_per_node})
        if part.pool.taken
        else part.pool
    )


def _site(fleet: Fleet, part: Part) -> Site:
    pool = part.pool
    return Site(
        pool=pool.name,
        gpu=pool.gpu,
        headroom_mib=fleet.policy.headroom_mib,
        modes=frozenset(pool.sharing),
        block_sizes=pool.block_sizes,
        max_active_residents=fleet.policy.max_active_residents,
        mig_profiles=_mig_profiles(pool),
        taken_mib=part.taken_mib,
    )


def _layouts(pool: FleetPool) -> tuple[tuple[MigSlot, ...], ...]:
    if pool.mig == "off":
        return ()
    layouts = (pool.mig_layout,) if pool.mig == "fixed" else maximal_layouts(pool.gpu)
    return tuple(tuple(MigSlot(profile, start) for profile, start in layout) for layout in layouts)


def _mig_profiles(pool: FleetPool) -> tuple[MigProfile, ...]:
    names = {slot.profile for layout in _layouts(pool) for slot in layout}
    return tuple(profile for profile in pool.gpu.mig_profiles if profile.name in names)


def _pool(fleet: Fleet, part: Part) -> Pool:
    pool = part.pool
    rentable = pool.ownership == "rentable"
    of_what = f", {part.taken_mib} MiB taken" if part.taken_mib else ""
    return Pool(
        name=pool.name if part.whole else f"{pool.name} (blocks of {part.gpus_per_node}{of_what})",
        nodes=len(part.places),
        gpus_per_node=part.gpus_per_node,
        memory_mib=max(0, pool.gpu.memory_usable_mib - fleet.policy.headroom_mib - part.taken_mib),
        price_microusd_per_h=round(pool.price_usd_per_h * MICRO),
        billing="node" if rentable else "gpu",
        min_nodes=pool.min_nodes if rentable else 0,
        max_active_residents=fleet.policy.max_active_residents,
        block_sizes=tuple(size for size in pool.block_sizes if size <= part.gpus_per_node),
        mig_layouts=_layouts(pool),
        host_cores_per_gpu=pool.host_cores // pool.gpus_per_node,
        host_memory_mib_per_gpu=pool.host_memory_mib // pool.gpus_per_node,
        machines=_machines(fleet, part) if pool.taken else (),
    )


def _machines(fleet: Fleet, part: Part) -> tuple[int, ...]:
    """Numbers of the machines of a part's nodes: a host may be a node of several pools that divide its GPUs."""
    numbers: dict[tuple[str, int] | str, int] = {}
    own: list[int] = []
    for pool in sorted(fleet.pools, key=lambda pool: pool.name):
        for node, host in enumerate(pool.hosts):
            number = numbers.setdefault((pool.name, node) if is_loopback(host) else address_of(host), len(numbers))
            if pool.name == part.pool.name:
                own.append(number)
    return tuple(own[node] for node, _ in part.places)


def _demand(group: ServiceGroup, apart_from: frozenset[int]) -> Demand:
    return Demand(
        name=group.name,
        rate_microrps=tuple(math.ceil(rate_rps * MICRO) for rate_rps in group.windows_rps),
        priority=group.priority,
        min_replicas=group.min_replicas,
        not_with=apart_from,
        tolerate_nodes=group.tolerate_nodes,
        spread_nodes=group.spread_nodes,
        max_replicas=UNLIMITED if group.max_replicas is None else group.max_replicas,
    )


def _shape(candidate: Candidate, demand: int, pool: int, policy: Policy) -> Shape:
    host_cores, host_memory_mib = host_needs(candidate.gpus)
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
        compute_permille=_compute_permille(candidate),
        bandwidth_permille=math.ceil(1000 * candidate.bandwidth_fraction),
        active_permille=_as_few(candidate.active_permille),
        max_residents=candidate.limit.max_residents,
        active_limit_permille=math.floor(1000 * candidate.limit.active_limit),
        host_cores=host_cores,
        host_memory_mib=host_memory_mib,
        # those without a team are one more team; a fault of one engine ends all that share its GPU by MPS
        colocation_class=candidate.group.team or "" if policy.isolate_teams or candidate.mode == "mps" else "",
        start_extra_mib=start_extra_mib(candidate),
        weights_mib=candidate.ledger.weights_mib,
    )


def _compute_permille(candidate: Candidate) -> int:
    """Under MPS its threads; of time-shared ones the rule on activities says more."""
    if candidate.mode == "mps":
        return 10 * candidate.settings.active_thread_percentage
    return 0 if candidate.mode == "time_shared" else 1000


def _as_few(by_window: tuple[int, ...]) -> tuple[int, ...]:
    """One number where it is the same in all windows."""
    return by_window[:1] if len(set(by_window)) == 1 else by_window


def start_extra_mib(candidate: Candidate) -> int:
    """What a start takes beyond the steady state, in steps, which keeps the engines' groups of shapes few, but no more than is there."""
    exact_mib = candidate.ledger.start_peak_mib - candidate.ledger.total_mib
    room_mib = candidate.site.memory_mib(candidate.mig) - candidate.ledger.total_mib
    return min(-(-exact_mib // START_STEP_MIB) * START_STEP_MIB, max(exact_mib, room_mib))


def _beside(candidate: Candidate) -> str:
    among = f"{candidate.limit.max_residents} " if candidate.limit.max_residents < ANY else ""
    return f"active {candidate.limit.active_limit:g} {among}".strip()


def _how(candidate: Candidate) -> str:
    if candidate.mode == "mps":
        return f"{candidate.settings.active_thread_percentage} % of threads"
    return _beside(candidate) if candidate.mode == "time_shared" else f"{candidate.gpus} GPU"


def _shape_name(candidate: Candidate) -> str:
    how = candidate.mig.name if candidate.mig else _how(candidate)
    return f"{candidate.group.name} on {candidate.site.pool}, {how}, {candidate.capacity_rps:.4g}/s"
