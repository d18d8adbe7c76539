"""GPU by GPU: memory, who may live together, MIG layouts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from planner.plan import ALL_THREADS, Desired, GpuPlan, NodePlan, Replica, is_shared
from planner.sleep_costs import as_asleep, slow_link_gb_per_s
from profiles.gpu_types import GpuType
from profiles.memory.host import host_needs
from profiles.mig import legal_layouts

# Forecasts are floats; a count holds within one part in a million.
RELATIVE_TOLERANCE = 1e-6


def gpu_problems(desired: Desired, gpu_type: Callable[[str], GpuType]) -> Iterator[str]:
    """What is wrong on each GPU with its residents."""
    residents: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
    asleep = {item.name for item in desired.asleep}
    for replica in desired.replicas:
        for index in replica.gpus:
            residents[replica.node, index].append(as_asleep(replica) if replica.name in asleep else replica)
    nodes = {node.name: node for node in desired.nodes}
    for gpu in desired.gpus:
        where = f"node {gpu.node}, GPU {gpu.index}"
        here = residents[gpu.node, gpu.index]
        if gpu.headroom_mib != desired.rules.headroom_mib:
            yield f"{where}: keeps {gpu.headroom_mib} MiB headroom, the policy says {desired.rules.headroom_mib} MiB"
        if any(is_shared(replica.mode) and replica.active_limit > desired.rules.max_active_residents for replica in here):
            yield f"{where}: replicas are sized for more than the {desired.rules.max_active_residents} active residents of the policy"
        yield from _sums(gpu, here, where)
        yield from _host(here, nodes.get(gpu.node), where)
        node = nodes.get(gpu.node)
        if node is None or (node.pool, node.gpu_type) != (gpu.pool, gpu.gpu_type) or not 0 <= gpu.index < node.gpu_count:
            yield f"{where}: no node has such a GPU of type {gpu.gpu_type} in pool {gpu.pool}"
        yield from _gpu(gpu, here, gpu_type(gpu.gpu_type), where)
        awake = [replica for replica in here if replica.name not in asleep]
        if gpu.mode != "mig":
            yield from _active(awake, where)
        yield from _threads(here, awake, where)


def _sums(gpu: GpuPlan, residents: Sequence[Replica], where: str) -> Iterator[str]:
    """The lines of a GPU are the sums of its residents' ledgers."""
    weights_mib, kv_mib, used_mib = (
        sum(getattr(replica.ledger, line) for replica in residents) for line in ("weights_mib", "kv_mib", "total_mib")
    )
    lines = {
        "weights_mib": weights_mib,
        "kv_mib": kv_mib,
        "overhead_mib": used_mib - weights_mib - kv_mib,
        "free_mib": gpu.memory_mib - used_mib - gpu.taken_mib,
    }
    for name, is_mib in lines.items():
        if getattr(gpu, name) != is_mib:
            yield f"{where}: {name} says {getattr(gpu, name)} MiB, its residents make it {is_mib} MiB"


def _host(residents: Sequence[Replica], node: NodePlan | None, where: str) -> Iterator[str]:
    """A GPU's engines take no more of their host than its part; a block of GPUs counts at each of them alike."""
    if node is None or not residents:
        return
    cores = sum(host_needs(len(replica.gpus))[0] / len(replica.gpus) for replica in residents)
    memory_mib = sum(host_needs(len(replica.gpus))[1] / len(replica.gpus) for replica in residents)
    part_cores, part_mib = node.host_cores // node.gpu_count, node.host_memory_mib // node.gpu_count
    if cores > part_cores:
        yield f"{where}: its engines take {cores:g} host cores, but its part of node {node.name} is {part_cores}"
    if memory_mib > part_mib:
        yield f"{where}: its engines take {memory_mib:.0f} MiB of host memory, but its part of node {node.name} is {part_mib} MiB"


def _gpu(gpu: GpuPlan, residents: Sequence[Replica], kind: GpuType, where: str) -> Iterator[str]:
    if gpu.memory_mib > kind.memory_usable_mib:
        yield f"{where}: the plan says {gpu.memory_mib} MiB, but a {kind.name} has {kind.memory_usable_mib} MiB"
    if sorted(gpu.replicas) != sorted(replica.name for replica in residents):
        yield f"{where}: lists {sorted(gpu.replicas)}, placed there are {sorted(replica.name for replica in residents)}"
    if any(replica.mode != gpu.mode for replica in residents):
        yield f"{where}: is {gpu.mode}, its residents are {sorted({replica.mode for replica in residents})}"
    if any((replica.mig is not None) != (gpu.mode == "mig") for replica in residents):
        yield f"{where}: is {gpu.mode}, with a MIG instance for {sorted(replica.name for replica in residents if replica.mig)}"
    link = slow_link_gb_per_s(kind)
    for replica in residents:
        if replica.args.enable_sleep_mode and replica.slow_link_gb_per_s != link:
            said = replica.slow_link_gb_per_s or "no slow link"
            yield f"{where}: {replica.name} says {said} (slow_link_gb_per_s), and PCIe of a {kind.name} has {kind.pcie_gb_per_s:g} GB/s"
    if residents and gpu.taken_mib >= gpu.memory_mib:
        yield f"{where}: is taken by others and holds {sorted(replica.name for replica in residents)}"
    yield from _layout(gpu, residents, kind, where)
    if gpu.mode != "mig":
        yield from _whole(gpu, residents, where)


def _whole(gpu: GpuPlan, residents: Sequence[Replica], where: str) -> Iterator[str]:
    used_mib = sum(replica.ledger.total_mib for replica in residents)
    if residents and used_mib + gpu.headroom_mib + gpu.taken_mib > gpu.memory_mib:
        others = f", {gpu.taken_mib} MiB of them taken by others" if gpu.taken_mib else ""
        yield f"{where}: residents need {used_mib} MiB and {gpu.headroom_mib} MiB headroom, the GPU has {gpu.memory_mib} MiB{others}"
    start_mib = used_mib + max((replica.ledger.start_extra_mib for replica in residents), default=0)
    if used_mib + gpu.headroom_mib + gpu.taken_mib <= gpu.memory_mib < start_mib + gpu.headroom_mib + gpu.taken_mib:
        yield f"{where}: while a resident starts, {start_mib} MiB and {gpu.headroom_mib} MiB headroom are needed of {gpu.memory_mib} MiB"
    if len(residents) > 1 and not is_shared(gpu.mode):
        yield f"{where}: {len(residents)} residents on a GPU that is {gpu.mode}"
    if residents and gpu.mig_layout:
        yield f"{where}: is cut into MIG instances and used whole by {sorted(replica.name for replica in residents)}"
    for name, times in sorted(Counter(replica.served_name for replica in residents).items()):
        if times > 1:
            yield f"{where}: {name} has {times} replicas there; one is allowed"


def _active(residents: Sequence[Replica], where: str) -> Iterator[str]:
    """Equal slices among the active: no window has more activity, and no GPU more residents, than the most sensitive is sized for."""
    for replica in residents:
        if max(replica.forecast.active_fractions, default=0.0) < replica.forecast.busy_fraction - RELATIVE_TOLERANCE:
            yield (
                f"{where}: {replica.name} is active {max(replica.forecast.active_fractions, default=0.0):.1%} of the time at most, though "
                f"even alone it would have work {replica.forecast.busy_fraction:.1%} of it"
            )
    if len(residents) < 2:
        return
    most = min(replica.max_residents for replica in residents)
    if len(residents) > most:
        yield f"{where}: has {len(residents)} residents, but they are sized for {most}"
    allowed = min(replica.active_limit for replica in residents)
    for window, fractions in enumerate(zip(*(replica.forecast.active_fractions for replica in residents), strict=False)):
        if sum(fractions) > allowed + RELATIVE_TOLERANCE:
            yield f"{where}: has {sum(fractions):.2f} active residents in window {window}, but they are sized for {allowed:g} at a time"
            return


def _threads(residents: Sequence[Replica], awake: Sequence[Replica], where: str) -> Iterator[str]:
    """Under MPS every engine has threads of its own, and what all draw of the memory's bandwidth while they work is there."""
    for replica in residents:
        if (replica.mode == "mps") != (replica.threads > 0):
            yield f"{where}: {replica.name} is {replica.mode}, with {replica.threads} % of the threads by MPS"
    threads = sum(replica.threads for replica in awake)
    if threads > ALL_THREADS:
        yield f"{where}: its residents have {threads} % of its threads together"
    drawn_fraction = sum(replica.forecast.bandwidth_fraction for replica in awake if replica.mode == "mps")
    if len(awake) > 1 and drawn_fraction > 1 + RELATIVE_TOLERANCE:
        yield f"{where}: its residents draw {drawn_fraction:.1%} of its memory bandwidth together"


def _layout(gpu: GpuPlan, residents: Sequence[Replica], kind: GpuType, where: str) -> Iterator[str]:
    layout = Counter((place.profile, place.start) for place in gpu.mig_layout)
    if max(layout.values(), default=0) > 1 or not any(set(layout) == set(legal) for legal in legal_layouts(kind)):
        yield f"{where}: {sorted(layout)} is not a legal MIG layout of {gpu.gpu_type}"
    seats = Counter((replica.mig.profile, replica.mig.start) for replica in residents if replica.mig)
    for seat, times in sorted(seats.items()):
        if seat not in layout or times > 1:
            yield f"{where}: MIG {seat[0]} at {seat[1]} holds {times} replicas and is {'' if seat in layout else 'not '}in the layout"
