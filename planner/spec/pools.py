"""From declared pools to pools of the fleet: defaults from the GPU type, and checks across fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from planner.hosts import is_everywhere, is_loopback
from planner.plan.local_paths import is_local
from planner.spec.declared import DeclaredPool
from planner.spec.fleet import FleetPool, Link, Sharing, Taken
from planner.spec.messages import Loc
from planner.spec.nearest import nearest
from profiles.catalogue import Catalogue
from profiles.gpu_types import GpuType
from profiles.mig import Layout, legal_layouts

Report = Callable[[Loc, str], None]

# A usual 8-GPU node has two 48-core CPUs and 1 TiB of memory (for example the DGX H100: 112 cores, 2 TiB): 12 cores and 128 GiB
# per GPU are on the small side of what such nodes have.
HOST_CORES_PER_GPU = 12
HOST_MEMORY_MIB_PER_GPU = 128 * 1024

LOOPBACK = "127.0.0.1"

# The largest fleet that was ever tried has 20,000 GPUs (docs/benchmarks.md); every GPU is a line of the plan.
MOST_GPUS = 50_000

# The first whose MPS limits the threads of a client (NVIDIA MPS documentation, Volta).
_MPS_CAPABILITY = 7.0

# MIG profiles are named in units of 10^9 bytes, rounded.
_MIB_PER_GB = 1e9 / (1 << 20)
# The sizes in two names of one slice differ by less (GB200: 1g.24gb and 1g.23gb of 22 GiB), those of two slices by a factor.
_SAME_SIZE_FRACTION = 0.2


def resolve_pools(
    declared: Mapping[str, DeclaredPool], types: Mapping[str, GpuType], catalogue: Catalogue, report: Report, warn: Report
) -> tuple[FleetPool, ...]:
    """The pools without errors; everything else goes to report, and names that several cards carry to warn.

    types are GPU types by pool; one that has none has been reported.
    """
    pools: list[FleetPool] = []
    for name, pool in declared.items():
        gpu = types.get(name)
        if gpu is None:
            continue
        ambiguity = catalogue.gpu_ambiguity(pool.gpu) if isinstance(pool.gpu, str) and not is_local(pool.gpu) else None
        if ambiguity is not None:
            warn(("pools", name, "gpu"), ambiguity)
        layout, layout_problems = _layout(pool, gpu)
        problems = [
            *_node_problems(pool),
            *_price_problems(pool, gpu),
            *_numa_problems(pool),
            *_mode_problems(pool, gpu),
            *_taken_problems(pool, gpu),
            *layout_problems,
        ]
        for loc, message in problems:
            report(("pools", name, *loc), message)
        if not problems:
            pools.append(_pool(name, pool, gpu, layout))
    _check_hosts(declared, report)
    return tuple(pools)


def _pool(name: str, declared: DeclaredPool, gpu: GpuType, layout: Layout) -> FleetPool:
    link = declared.link or _link(gpu)
    rentable = declared.ownership == "rentable"
    max_nodes = declared.max_nodes or declared.nodes
    return FleetPool(
        name=name,
        gpu=gpu,
        nodes=declared.nodes,
        gpus_per_node=declared.gpus_per_node,
        price_usd_per_h=declared.price_usd_per_h or gpu.price_usd_per_h or 0.0,
        link=link,
        block_sizes=block_sizes(link, declared.gpus_per_node),
        host_cores=declared.host_cores or HOST_CORES_PER_GPU * declared.gpus_per_node,
        host_memory_mib=declared.host_memory_mib or HOST_MEMORY_MIB_PER_GPU * declared.gpus_per_node,
        hosts=declared.hosts or (LOOPBACK,) * max_nodes,
        mig=declared.mig,
        mig_layout=layout,
        sharing=_sharing(declared),
        ownership=declared.ownership,
        min_nodes=(declared.min_nodes or 0) if rentable else declared.nodes,
        max_nodes=max_nodes,
        start_time_s=declared.start_time_s or 0.0,
        start_price_usd=declared.start_price_usd or 0.0,
        numa_nodes=declared.numa_nodes,
        taken=tuple(
            Taken(node=taken.node, gpu=gpu_index, memory_mib=taken.memory_mib or gpu.memory_usable_mib)
            for taken in sorted(declared.taken, key=lambda taken: taken.node)
            for gpu_index in sorted(taken.gpus)
        ),
    )


def _link(gpu: GpuType) -> Link:
    """How the GPUs of this type are joined where a pool does not say it."""
    return next(link for link in get_args(Link) if link == gpu.link)


def block_sizes(link: Link, gpus_per_node: int) -> tuple[int, ...]:
    """Tensor-parallel sizes the links of a node allow, ascending.

    >>> block_sizes("nvswitch", 8)
    (1, 2, 4, 8)
    """
    # Over PCIe every size runs; what its all-reduces cost is in the step times (GpuType.link_gb_per_s).
    largest = min(2, gpus_per_node) if link == "pairs" else gpus_per_node
    return tuple(1 << power for power in range(largest.bit_length()))


def _node_problems(declared: DeclaredPool) -> Iterable[tuple[Loc, str]]:
    max_nodes = declared.max_nodes or declared.nodes
    if declared.ownership == "owned":
        for field, value in (
            ("min_nodes", declared.min_nodes),
            ("max_nodes", declared.max_nodes),
            ("start_time", declared.start_time_s),
            ("start_price", declared.start_price_usd),
        ):
            if value is not None:
                yield (field,), "is for rentable pools; write ownership: rentable or leave it out"
    elif declared.max_nodes is not None and declared.max_nodes < declared.nodes:
        yield ("max_nodes",), f"{declared.max_nodes} is less than nodes: {declared.nodes}"
    if declared.min_nodes is not None and declared.min_nodes > max_nodes:
        yield ("min_nodes",), f"{declared.min_nodes} is more than the {max_nodes} nodes there can be"
    for index, host in enumerate(declared.hosts or ()):
        if is_everywhere(host):
            yield (
                ("hosts", index),
                f"{host} is no machine's address: engines listen there on every interface, and the router cannot reach them",
            )
    if declared.hosts is not None and len(declared.hosts) != max_nodes:
        yield ("hosts",), f"{len(declared.hosts)} addresses for {max_nodes} nodes; write one per node"


def _taken_problems(declared: DeclaredPool, gpu: GpuType) -> Iterable[tuple[Loc, str]]:
    if declared.taken and declared.ownership != "owned":
        yield ("taken",), "is for owned pools; a node that is rented has no other users"
    seen: set[tuple[int, int]] = set()
    for place, taken in enumerate(declared.taken):
        if taken.node >= declared.nodes:
            yield ("taken", place, "node"), f"there is no node {taken.node}; the pool has nodes 0 to {declared.nodes - 1}"
        for at, index in enumerate(taken.gpus):
            if index >= declared.gpus_per_node:
                yield ("taken", place, "gpus", at), f"there is no GPU {index}; a node has GPUs 0 to {declared.gpus_per_node - 1}"
            elif (taken.node, index) in seen:
                yield ("taken", place, "gpus", at), f"GPU {index} of node {taken.node} is listed twice"
            seen.add((taken.node, index))
        if taken.memory_mib is None:
            continue
        if declared.mig != "off":
            yield ("taken", place, "memory"), "is for pools without MIG; leave it out, and the whole GPU is not used"
        elif taken.memory_mib >= gpu.memory_usable_mib:
            yield (
                ("taken", place, "memory"),
                f"{taken.memory_mib} MiB are all of the {gpu.memory_usable_mib} MiB of {gpu.name}; leave it out, and the GPU is not used",
            )


def _numa_problems(declared: DeclaredPool) -> Iterable[tuple[Loc, str]]:
    if declared.gpus_per_node % declared.numa_nodes:
        yield ("numa_nodes",), f"{declared.gpus_per_node} GPUs cannot be divided evenly among {declared.numa_nodes} NUMA nodes"


def _price_problems(declared: DeclaredPool, gpu: GpuType) -> Iterable[tuple[Loc, str]]:
    if declared.price_usd_per_h is None and gpu.price_usd_per_h is None:
        yield ("price",), f"is required: the catalogue lists no price for {gpu.name}. Write for example price: 2.95 USD/h"


def _sharing(declared: DeclaredPool) -> tuple[Sharing, ...]:
    if declared.sharing is not None:
        return tuple(sorted(set(declared.sharing)))
    return ("exclusive", "time_shared") if declared.mig == "off" else ("mig",)


def _mode_problems(declared: DeclaredPool, gpu: GpuType) -> Iterable[tuple[Loc, str]]:
    sharing = _sharing(declared)
    if declared.mig != "off" and not gpu.mig_profiles:
        yield ("mig",), f"{gpu.name} has no MIG; write off or choose another GPU"
    if declared.mig == "off" and "mig" in sharing:
        yield ("sharing",), "lists mig while mig is off; write mig: repartition or mig: fixed"
    if "mps" in sharing and (gpu.engine is not None or float(gpu.compute_capability) < _MPS_CAPABILITY):
        yield (
            ("sharing",),
            f"lists mps, which takes an NVIDIA GPU of compute capability {_MPS_CAPABILITY} or higher, and not {gpu.name}",
        )
    if declared.mig != "off" and sharing != ("mig",):
        yield ("sharing",), "a pool in MIG mode runs MIG slices only; write [mig] and declare another pool for the rest"
    if declared.mig != "fixed" and declared.mig_layout is not None:
        yield ("mig_layout",), f"is for mig: fixed, mig is {declared.mig}"
    if declared.mig == "fixed" and not declared.mig_layout:
        yield ("mig_layout",), "is required with mig: fixed. Example: [3g.40gb, 4g.40gb]"


def _layout(declared: DeclaredPool, gpu: GpuType) -> tuple[Layout, list[tuple[Loc, str]]]:
    """The fixed layout of a pool with start slots: of all legal ones the first in order."""
    if declared.mig != "fixed" or not declared.mig_layout or not gpu.mig_profiles:
        return (), []
    known = [profile.name for profile in gpu.mig_profiles]
    unknown: list[tuple[Loc, str]] = [
        (("mig_layout", index), f"{gpu.name} has no MIG profile {name[:60]!r}; {_hint(name, gpu)}allowed: {', '.join(known)}")
        for index, name in enumerate(declared.mig_layout)
        if name not in known
    ]
    if unknown:
        return (), unknown
    wanted = sorted(declared.mig_layout)
    by_start = (tuple(sorted(layout, key=lambda place: place[1])) for layout in legal_layouts(gpu))
    fitting = min((layout for layout in by_start if sorted(name for name, _ in layout) == wanted), default=None)
    if fitting is None:
        return (), [(("mig_layout",), f"{', '.join(declared.mig_layout)} do not fit on one {gpu.name} together")]
    return fitting, []


def _hint(name: str, gpu: GpuType) -> str:
    """The profile that is meant: the same slices where the driver gives them another size in its name, else the nearest spelling."""
    parts = re.fullmatch(r"(\d+)g\.(\d+)gb(\W.*)?", name.strip().lower())
    if parts is not None:
        slices, size_gb, attributes = int(parts[1]), int(parts[2]), parts[3]
        same = [profile for profile in gpu.mig_profiles if profile.compute_slices == slices]
        meant = min(same, key=lambda profile: abs(profile.memory_mib / _MIB_PER_GB - size_gb), default=None)
        if meant is not None and abs(meant.memory_mib / _MIB_PER_GB / size_gb - 1) > _SAME_SIZE_FRACTION:
            return f"did you mean {meant.name}? "
        if meant is not None:
            more = f", without {attributes}: media engines are not planned" if attributes else ""
            return (
                f"names move with the driver: {meant.name} has {meant.compute_slices} of {gpu.mig_compute_slices} compute slices and "
                f"{meant.memory_mib} MiB{more}; write it where `nvidia-smi mig -lgip` lists as much; "
            )
    close = nearest(name, [profile.name for profile in gpu.mig_profiles])
    return f"did you mean {close}? " if close else ""


def check_size(pools: Iterable[FleetPool], report: Report) -> None:
    """Report a fleet that is beyond what can be planned, at the pool that makes it so."""
    gpus = 0
    for pool in pools:
        gpus += pool.max_nodes * pool.gpus_per_node
        if gpus > MOST_GPUS:
            report(
                ("pools", pool.name, "nodes"),
                f"makes a fleet of {gpus} GPUs; at most {MOST_GPUS} can be planned at once: plan the parts that share no models apart",
            )
            return


def _check_hosts(declared: Mapping[str, DeclaredPool], report: Report) -> None:
    """A machine is one node of a pool; pools may divide its GPUs among them, as where MIG is on for some of its GPUs only."""
    seen: dict[str, list[tuple[str, frozenset[int]]]] = {}
    for name, pool in declared.items():
        for index, host in enumerate(pool.hosts or ()):
            own = _own_gpus(pool, index)
            for other, others in () if is_loopback(host) else seen.get(host, ()):
                if other == name:
                    report(("pools", name, "hosts", index), f"{host} is a node of pool {name} already; a machine is one node of a pool")
                elif own & others:
                    report(
                        ("pools", name, "hosts", index),
                        f"{host} is a node of pool {other} already, and GPUs {_numbers(own & others)} would belong to both; "
                        "list under taken, in each of the pools, the GPUs that are the other's",
                    )
            seen.setdefault(host, []).append((name, own))


def _own_gpus(pool: DeclaredPool, node: int) -> frozenset[int]:
    """The GPUs of a node that a pool may use, in full or in part."""
    whole = (taken for taken in pool.taken if taken.node == node and taken.memory_mib is None)
    return frozenset(range(pool.gpus_per_node)).difference(*(taken.gpus for taken in whole))


def _numbers(gpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(gpus)))
