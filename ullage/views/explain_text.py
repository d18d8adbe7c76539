"""Why a plan is as it is, in sentences: for the whole plan, or for one workload, model or replica."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Breaking, Desired, Explanation, GpuPlan, GpuRows, ModelReasons, Replica, Way, WorkloadForecast
from ullage.views.plan_text import one_more_line
from ullage.views.simulated_text import breaks_where
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


def explain_text(desired: Desired, subject: str | None) -> str:
    """Text for a terminal, ends in a newline. ValueError for a subject that the plan does not have, or a plan without reasons in it."""
    reasons = desired.explanation
    if reasons is None:
        raise ValueError("this plan contains no explanation; make it again with `ullage plan`")
    if subject is None:
        return "\n".join([*_overview(desired, reasons), *resolved_lines(desired, reasons)]) + "\n"
    served_names = _served_names(desired, subject)
    models = [model for model in reasons.models if model.served_name in served_names]
    chosen = [replica for replica in desired.replicas if replica.name == subject]
    replicas = chosen or [replica for replica in desired.replicas if replica.served_name in served_names]
    lines = [line for model in models for line in _model(desired, reasons, model, replicas)]
    return "\n".join([*lines, *resolved_lines(desired, reasons)]) + "\n"


def _served_names(desired: Desired, subject: str) -> set[str]:
    found = {workload.served_name for workload in desired.workloads if subject in {workload.name, workload.served_name}}
    found |= {replica.served_name for replica in desired.replicas if replica.name == subject}
    if not found:
        names = sorted({workload.name for workload in desired.workloads} | {workload.served_name for workload in desired.workloads})
        raise ValueError(f"the plan has no workload, model or replica {subject!r}; it has {', '.join(names[:20])}")
    return found


def _overview(desired: Desired, reasons: Explanation) -> Iterator[str]:
    yield "What limits each model, and what would break it first"
    yield from (f"  {model.served_name}: {limit_line(desired, model)}" for model in reasons.models)
    yield "How full each GPU in use is"
    for row in reasons.gpus:
        parts = f"memory {row.memory_fraction:.0%}, active residents {row.active_fraction:.0%}, compute {row.compute_fraction:.0%}"
        yield f"  {row.node} GPU {row.gpu}: {parts}"


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


def _model(desired: Desired, reasons: Explanation, model: ModelReasons, replicas: list[Replica]) -> Iterator[str]:
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
    more = way.usd_per_h - min(item.usd_per_h for item in chosen)
    return (
        f" ({more:.2f} USD/h more)" if more > 0 else " (costs no more by itself; it was not chosen because of the other models on its GPUs)"
    )


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
        yield f"  not on {gpu.node} GPU {gpu.index}: {_kept_out(gpu, row.fullest, _fullness(row), smallest_mib, names)}"


def _fullness(row: GpuRows) -> float:
    return max(row.memory_fraction, row.active_fraction, row.compute_fraction)


def _kept_out(gpu: GpuPlan, fullest: str, fullness: float, need_mib: int, names: dict[str, Replica]) -> str:
    free_mib = gpu.free_mib - gpu.headroom_mib
    if gpu.mode in {"exclusive", "tensor_parallel"}:
        return f"{', '.join(gpu.replicas)} uses this GPU alone ({MODE_WORDS[gpu.mode]})"
    if gpu.mode != "mig" and free_mib < need_mib:
        return f"{free_mib} MiB are free, but a replica takes {need_mib} MiB"
    if fullness >= _FULL_FRACTION:
        limit = min((names[name].active_limit for name in gpu.replicas), default=0.0)
        detail = f", which are sized for {limit:g} residents active at a time" if fullest == "active residents" else ""
        return f"its {fullest} limit is {fullness:.0%} used by {', '.join(gpu.replicas)}{detail}"
    return f"it has room ({fullest}: {fullness:.0%} used), but moving there would not free a GPU"


def resolved_lines(desired: Desired, reasons: Explanation) -> Iterator[str]:
    """What solving again has found: conflicts, what one more GPU buys, and the cost with faster or slower engines."""
    for conflict in reasons.conflicts:
        if conflict.members:
            kind = "cannot all be met; without any one of them, the others can" if conflict.proven else "cannot all be met"
            yield f"Conflict: these {kind}:"
            yield from (f"  {member}" for member in conflict.members)
        else:
            yield f"Conflict of {conflict.served_name}: the search ended before it could prove one"
    yield from (one_more_line(desired, item) for item in reasons.one_more)
    band = desired.certificate.cost_band
    if band is not None:
        yield f"Cost if step times are at p10 and p90 of their band: {band.p10_usd_per_h:.2f} and {band.p90_usd_per_h:.2f} USD/h"
