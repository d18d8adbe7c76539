"""Why one model runs as it does: its replicas, what limits them, the other ways there are, and what it would take to change that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.plan import Breaking, Desired, Explanation, GpuPlan, GpuRows, ModelReasons, Replica, Way, WorkloadForecast
from ullage.views.plan.simulated_text import breaks_where
from ullage.views.words import MODE_WORDS

# Rows that are fuller than this keep others out: what a further replica needs is never less.
_FULL_FRACTION = 0.95

LIMIT_WORDS = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "kv_cache": "KV cache",
    "throughput": "throughput",
    "memory": "memory",
    "nothing": "nothing near",
}


def limit_line(desired: Desired, model: ModelReasons) -> str:
    """What limits a model, and what would break it first."""
    rows = [workload for workload in desired.workloads if workload.served_name == model.served_name]
    points = [row.breaking for row in rows if row.breaking is not None]
    broken = f"{_simulated(rows[0])}{_first_break(points)}" if points else "not fully served"
    return f"limited by {LIMIT_WORDS[model.limit]}; {broken}"


def _simulated(row: WorkloadForecast) -> str:
    """Where the simulation saw its model break, which neighbours as active as they are decide; then the formulas have the word."""
    return "" if row.kept_load_factor is None else f"simulated to break {breaks_where(row.kept_load_factor)}; by the formulas "


def _first_break(points: list[Breaking]) -> str:
    demand = min((point.demand_factor for point in points if point.demand_factor), default=None)
    slower = min((point.interference_factor for point in points if point.interference_factor), default=None)
    nodes = sorted({node for point in points for node in point.nodes})
    grown = f"demand x{demand:.2f}" if demand else "no demand up to x32"
    slowed = f"step times x{slower:.2f}" if slower else "no step times up to x32"
    lost = f"the loss of {' or '.join(nodes[:3])}{' ...' if len(nodes) > 3 else ''}" if nodes else "the loss of no single node"
    return f"broken by {grown}, by {slowed}, by {lost}"


def model_lines(desired: Desired, reasons: Explanation, model: ModelReasons, replicas: list[Replica]) -> Iterator[str]:
    """A model: its replicas, what limits them, its ways, and why it is not on the other GPUs in use."""
    yield f"{model.served_name}"
    own = [replica for replica in replicas if replica.served_name == model.served_name]
    yield from (f"  {replica_line(desired, replica)}" for replica in own)
    yield from (f"  {line}" for line in reason_lines(desired, model))
    yield from _other_gpus(desired, reasons, own)


def reason_lines(desired: Desired, model: ModelReasons) -> Iterator[str]:
    """What limits a replica of a model, what its workloads bear, the ways that were chosen or possible, and those that are not."""
    yield f"what limits a replica: {LIMIT_WORDS[model.limit]}; {model.limit_reason}"
    for workload in desired.workloads:
        if workload.served_name == model.served_name:
            yield _workload(workload)
    chosen = [way for way in model.ways if way.chosen]
    yield from (f"chosen: {_way(way)}" for way in chosen)
    for way in model.ways:
        if not way.chosen:
            yield f"possible as well: {_way(way)}{_against(way, chosen)}"
    for refusal in model.refusals:
        gpus = f"{refusal.gpus} GPU{'s' if refusal.gpus > 1 else ''}"
        yield f"not {MODE_WORDS.get(refusal.mode, refusal.mode)} on {gpus} of {refusal.pool}: {refusal.reason}"


def replica_line(desired: Desired, replica: Replica) -> str:
    """Where a replica lives, beside whom, and what it carries."""
    places = f"{replica.node} GPU {','.join(map(str, replica.gpus))}"
    neighbours = sorted(
        {
            name
            for gpu in desired.gpus
            if gpu.node == replica.node and gpu.index in replica.gpus
            for name in gpu.replicas
            if name != replica.name
        }
    )
    beside = f" with {', '.join(neighbours)}" if neighbours else ""
    return (
        f"{replica.name} on {places}, {MODE_WORDS[replica.mode]}{beside}: {replica.planned_rps:.3g} requests/s, "
        f"{replica.ledger.total_mib} MiB per GPU"
    )


def _workload(row: WorkloadForecast) -> str:
    if row.unserved_rps:
        return f"workload {row.name}: {row.unserved_rps:.3g} of {row.rate_rps:.3g} requests/s unserved: {row.unserved_reason}"
    point = row.breaking
    if point is None:
        return f"workload {row.name}: {row.rate_rps:.3g} requests/s"
    demand = f"x{point.demand_factor:.2f} ({LIMIT_WORDS[point.demand_limit or 'nothing']})" if point.demand_factor else "up to x32: none"
    slower = (
        f"x{point.interference_factor:.2f} ({LIMIT_WORDS[point.interference_limit or 'nothing']})"
        if point.interference_factor
        else "up to x32: none"
    )
    nodes = " or ".join(point.nodes) or "no single node"
    broken = f"broken by demand {demand}, by step times {slower}, by the loss of {nodes}"
    return f"workload {row.name}: {row.rate_rps:.3g} requests/s; {_simulated(row)}{broken}"


def _way(way: Way) -> str:
    where = f"{way.mig_profile} of {way.pool}" if way.mig_profile else f"{way.gpus} GPU{'s' if way.gpus > 1 else ''} of {way.pool}"
    count = f"{way.replicas} replica{'s' if way.replicas > 1 else ''}"
    mode = "tensor-parallel" if way.gpus > 1 else MODE_WORDS.get(way.mode, way.mode)
    return f"{mode}, {count} on {where}, {way.capacity_rps:.3g} requests/s each: {way.gpu_fraction:.2f} GPUs, {way.usd_per_h:.2f} USD/h"


def _against(way: Way, chosen: list[Way]) -> str:
    if not chosen:
        return ""
    least_usd_per_h = min(item.usd_per_h for item in chosen)
    more = way.usd_per_h - least_usd_per_h
    if more <= 0:
        return " (costs no more by itself; it was not chosen because of the other models on its GPUs)"
    elsewhere = way.gpu_fraction > 0 and way.pool not in {item.pool for item in chosen}
    equal = f"; as cheap where a GPU of {way.pool} costs {least_usd_per_h / way.gpu_fraction:.2f} USD/h" if elsewhere else ""
    return f" ({more:.2f} USD/h more{equal})"


def _other_gpus(desired: Desired, reasons: Explanation, replicas: list[Replica]) -> Iterator[str]:
    """Why not on each of the other GPUs in use of the same pools."""
    own = {(replica.node, gpu) for replica in replicas for gpu in replica.gpus}
    pools = {replica.pool for replica in replicas}
    rows = {(row.node, row.gpu): row for row in reasons.gpus}
    names = {replica.name: replica for replica in desired.replicas}
    for gpu in desired.gpus:
        if gpu.mode == "free" or gpu.pool not in pools or (gpu.node, gpu.index) in own or (gpu.node, gpu.index) not in rows:
            continue
        row, smallest_mib = rows[gpu.node, gpu.index], min(replica.ledger.total_mib for replica in replicas)
        yield f"  not on {gpu.node} GPU {gpu.index}: {kept_out(gpu, row, smallest_mib, names)}"


def fullness(row: GpuRows) -> float:
    """How full the fullest row of a GPU is."""
    return max(row.memory_fraction, row.active_fraction, row.compute_fraction)


def kept_out(gpu: GpuPlan, row: GpuRows, need_mib: int, names: Mapping[str, Replica]) -> str:
    """Why a replica that takes need_mib is not on a GPU that is in use."""
    free_mib = gpu.free_mib - gpu.headroom_mib
    if gpu.mode in {"exclusive", "tensor_parallel"}:
        return f"{', '.join(gpu.replicas)} uses this GPU alone ({MODE_WORDS[gpu.mode]})"
    if gpu.mode != "mig" and free_mib < need_mib:
        return f"{free_mib} MiB are free, but a replica takes {need_mib} MiB"
    full_fraction, fullest = fullness(row), row.fullest
    if full_fraction >= _FULL_FRACTION:
        limit = min((names[name].active_limit for name in gpu.replicas), default=0.0)
        detail = f", which are sized for {limit:g} residents active at a time" if fullest == "active residents" else ""
        return f"its {fullest} limit is {full_fraction:.0%} used by {', '.join(gpu.replicas)}{detail}"
    return f"it has room ({fullest}: {full_fraction:.0%} used), but moving there would not free a GPU"
