"""The independent checker: judges a plan document by the rules of reality, whoever or whatever wrote it.

It recomputes what it can (memory ledgers, KV minimum, legal MIG layouts, actions) instead of trusting the numbers in
the plan, and shares no code with the solvers or with the code that builds plans.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from planner.plan import Desired, GpuPlan, Plan, Replica, Route
from profiles.gpus import GpuType
from profiles.kv import min_kv_bytes
from profiles.memory import memory_ledger
from profiles.mig import legal_layouts
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError

# Forecasts are floats; a goal counts as met within one part in a million.
RELATIVE_TOLERANCE = 1e-6

Gpus = Mapping[tuple[str, int], GpuPlan]


def check(plan: Plan, gpu_type: Callable[[str], GpuType], architecture: Callable[[str], Architecture]) -> tuple[str, ...]:
    """Everything that is wrong with a plan, as sentences with names, numbers and units; empty when it is sound.

    gpu_type and architecture look up catalogue entries by the names the plan uses.
    """
    desired = plan.desired
    gpus = {(gpu.node, gpu.index): gpu for gpu in desired.gpus}
    residents: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
    for replica in desired.replicas:
        for index in replica.gpus:
            residents[replica.node, index].append(replica)
    return tuple(
        dict.fromkeys(
            [
                *_names_and_ports(desired),
                *_placements(desired, gpus),
                *(problem for gpu in desired.gpus for problem in _gpu(gpu, residents[gpu.node, gpu.index], gpu_type)),
                *(problem for replica in desired.replicas for problem in _replica(replica, gpus, gpu_type, architecture)),
                *_routes(desired),
                *_goals(desired),
            ]
        )
    )


def _names_and_ports(desired: Desired) -> Iterator[str]:
    for name, times in sorted(Counter(replica.name for replica in desired.replicas).items()):
        if times > 1:
            yield f"replica {name} is listed {times} times"
    ports = Counter((replica.host, replica.args.port) for replica in desired.replicas)
    ports.update((desired.router.host, port) for port in (desired.router.port, desired.router.admin_port))
    for (host, port), times in sorted(ports.items()):
        if times > 1:
            yield f"port {port} on {host} is given out {times} times"


def _placements(desired: Desired, gpus: Gpus) -> Iterator[str]:
    nodes = {node.name: node for node in desired.nodes}
    for replica in desired.replicas:
        size = replica.args.tensor_parallel_size
        first = replica.gpus[0] if replica.gpus else -1
        if replica.gpus != tuple(range(first, first + size)) or first % size:
            yield f"replica {replica.name}: GPUs {list(replica.gpus)} are not an aligned block of {size}"
        for index in replica.gpus:
            if (replica.node, index) not in gpus:
                yield f"replica {replica.name}: GPU {index} of node {replica.node} does not exist"
        if replica.node in nodes and nodes[replica.node].host != replica.host:
            yield f"replica {replica.name}: host {replica.host} is not that of node {replica.node}, {nodes[replica.node].host}"
    used = sum(1 for gpu in desired.gpus if gpu.replicas)
    if used != desired.gpus_used:
        yield f"gpus_used says {desired.gpus_used}, {used} GPUs hold replicas"


def _gpu(gpu: GpuPlan, residents: Sequence[Replica], gpu_type: Callable[[str], GpuType]) -> Iterator[str]:
    where = f"node {gpu.node}, GPU {gpu.index}"
    if sorted(gpu.replicas) != sorted(replica.name for replica in residents):
        yield f"{where}: lists {sorted(gpu.replicas)}, placed there are {sorted(replica.name for replica in residents)}"
    if any(replica.mode != gpu.mode for replica in residents):
        yield f"{where}: is {gpu.mode}, its residents are {sorted({replica.mode for replica in residents})}"
    if gpu.mode == "mig":
        yield from _mig_gpu(gpu, residents, gpu_type(gpu.gpu_type), where)
        return
    used_mib = sum(replica.ledger.total_mib for replica in residents)
    if residents and used_mib + gpu.headroom_mib > gpu.memory_mib:
        yield f"{where}: residents need {used_mib} MiB and {gpu.headroom_mib} MiB headroom, the GPU has {gpu.memory_mib} MiB"
    if len(residents) > 1 and gpu.mode != "time_shared":
        yield f"{where}: {len(residents)} residents on a GPU that is {gpu.mode}"
    for name, times in sorted(Counter(replica.served_name for replica in residents).items()):
        if times > 1:
            yield f"{where}: {name} sits there {times} times"
    yield from _active(residents, where)


def _active(residents: Sequence[Replica], where: str) -> Iterator[str]:
    """Equal slices among the active: no more may be active together than the tightest resident was sized for."""
    if len(residents) < 2:
        return
    allowed = min(replica.max_active_residents for replica in residents)
    active = sum(_active_count(replica) for replica in residents)
    if active > allowed + RELATIVE_TOLERANCE:
        yield f"{where}: counts {active:.2f} active residents, they are sized for {allowed} at a time"


def _active_count(replica: Replica) -> float:
    busy_fraction = -math.expm1(-replica.forecast.running_requests)
    return 0.334 if busy_fraction <= 0.1 else 1.0


def _mig_gpu(gpu: GpuPlan, residents: Sequence[Replica], gpu_type: GpuType, where: str) -> Iterator[str]:
    layout = {(place.profile, place.start) for place in gpu.mig_layout}
    if not any(layout == set(legal) for legal in legal_layouts(gpu_type)):
        yield f"{where}: {sorted(layout)} is not a legal MIG layout of {gpu.gpu_type}"
    seats = Counter((replica.mig.profile, replica.mig.start) for replica in residents if replica.mig)
    for seat, times in sorted(seats.items()):
        if seat not in layout or times > 1:
            yield f"{where}: MIG {seat[0]} at {seat[1]} holds {times} replicas and is {'' if seat in layout else 'not '}in the layout"


def _replica(
    replica: Replica, gpus: Gpus, gpu_type: Callable[[str], GpuType], architecture: Callable[[str], Architecture]
) -> Iterator[str]:
    where = f"replica {replica.name}"
    spot = gpus.get((replica.node, replica.gpus[0])) if replica.gpus else None
    if spot is None:
        return
    gpu = gpu_type(spot.gpu_type)
    args = replica.args
    settings = EngineSettings(
        engine_version=replica.engine_version,
        dtype=args.dtype,
        quantization=args.quantization,
        kv_cache_dtype=args.kv_cache_dtype,
        tensor_parallel_size=args.tensor_parallel_size,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        enforce_eager=args.enforce_eager,
    )
    model = architecture(replica.catalogue_model)
    try:
        ledger = memory_ledger(model, gpu, settings, args.kv_cache_memory_bytes)
        need_bytes = min_kv_bytes(model, settings)
    except UnsupportedError as error:
        yield f"{where}: {error}"
        return
    if ledger.total_mib != replica.ledger.total_mib:
        yield f"{where}: the ledger says {replica.ledger.total_mib} MiB, the memory model {ledger.total_mib} MiB"
    if args.kv_cache_memory_bytes < need_bytes:
        have = f"{args.kv_cache_memory_bytes} bytes"
        yield f"{where}: a KV pool of {have} cannot hold one request of {args.max_model_len} tokens, which takes {need_bytes} bytes"
    if replica.mig is not None:
        memory_mib = next((profile.memory_mib for profile in gpu.mig_profiles if profile.name == replica.mig.profile), 0)
        if ledger.total_mib > memory_mib:
            yield f"{where}: needs {ledger.total_mib} MiB, a {replica.mig.profile} slice of {gpu.name} has {memory_mib} MiB"


def _routes(desired: Desired) -> Iterator[str]:
    replicas = {replica.name: replica for replica in desired.replicas}
    routed: Counter[str] = Counter()
    for route in desired.routes:
        yield from _route(route, replicas)
        routed.update(backend.replica for backend in route.backends)
    for name in replicas:
        if routed[name] != 1:
            yield f"replica {name} takes part in {routed[name]} routes, it must be one"


def _route(route: Route, replicas: Mapping[str, Replica]) -> Iterator[str]:
    where = f"route {route.served_name}"
    total = sum(backend.weight for backend in route.backends)
    if total != 1000:
        yield f"{where}: weights sum to {total}, not 1000"
    for backend in route.backends:
        replica = replicas.get(backend.replica)
        if replica is None:
            yield f"{where}: backend {backend.replica} is not a replica of the plan"
        elif (replica.served_name, replica.host, replica.args.port) != (route.served_name, backend.host, backend.port):
            yield f"{where}: backend {backend.replica} is {replica.served_name} at {replica.host}:{replica.args.port}"


def _goals(desired: Desired) -> Iterator[str]:
    """Each replica, at its planned rate, meets the tightest SLO among the workloads it serves; what is not served says why."""
    by_served: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in desired.replicas:
        by_served[replica.served_name].append(replica)
        if replica.planned_rps > replica.capacity_rps * (1 + RELATIVE_TOLERANCE):
            yield f"replica {replica.name}: planned {replica.planned_rps:.4g} requests/s, capacity {replica.capacity_rps:.4g}"
    for workload in desired.workloads:
        for replica in by_served[workload.served_name]:
            for goal, is_s, slo_s in (
                ("TTFT", replica.forecast.ttft_s, workload.ttft_slo_s),
                ("TPOT", replica.forecast.tpot_s, workload.tpot_slo_s),
            ):
                if is_s > slo_s * (1 + RELATIVE_TOLERANCE):
                    yield f"workload {workload.name}: {goal} forecast {is_s:.4f} s on {replica.name} misses the goal of {slo_s:.4f} s"
        if not by_served[workload.served_name] and workload.unserved_rps < workload.rate_rps * (1 - RELATIVE_TOLERANCE):
            yield f"workload {workload.name}: no replica serves it, yet only {workload.unserved_rps:.4g} requests/s count as unserved"
        if workload.unserved_rps > 0 and not workload.unserved_reason:
            yield f"workload {workload.name}: {workload.unserved_rps:.4g} requests/s are unserved without a reason"
