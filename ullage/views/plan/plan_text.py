"""A plan as text: one line per GPU with a bar, routes, workloads, cost against the baselines, and the actions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from planner.plan import (
    WORKLOAD_HEADER,
    Action,
    Certificate,
    Desired,
    Drain,
    OneMore,
    Outage,
    Plan,
    Repartition,
    SetRoutes,
    Sleep,
    Start,
    Stop,
    Wake,
)
from ullage.views.plan.bursts_text import burst_lines
from ullage.views.plan.gpu_text import gpu_text_lines
from ullage.views.plan.simulated_text import simulated_lines
from ullage.views.plan.volumes_text import volume_lines
from ullage.views.plan.windows_text import window_lines
from ullage.views.words import table

NEVER_FITS = "cannot serve all of it on any number of these GPUs"


def plan_text(plan: Plan) -> str:
    """The whole plan for a terminal, without colours; ends in a newline."""
    desired = plan.desired
    sections = [
        [headline(desired)],
        list(gpu_text_lines(desired)),
        list(_routes(desired)),
        list(_workloads(desired)),
        list(burst_lines(desired)),
        list(apart_lines(desired)),
        list(split_lines(desired)),
        list(volume_lines(desired)),
        list(window_lines(desired)),
        list(simulated_lines(desired)),
        list(node_loss_lines(desired)),
        list(_baselines(desired)),
        list(_bought(desired)),
        [f"warning: {warning}" for warning in desired.warnings],
        list(action_lines(plan.actions)),
        list(outage_lines(plan.outages)),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def headline(desired: Desired) -> str:
    """What is not served, GPUs, cost and proof in one line."""
    short = unserved_line(desired)
    return f"{short}; {fleet_line(desired)}" if short else fleet_line(desired)


def fleet_line(desired: Desired) -> str:
    """GPUs, cost and proof."""
    certificate = desired.certificate
    return (
        f"{desired.gpus_used} of {len(desired.gpus)} GPUs, {desired.cost_usd_per_h:.2f} USD/h, "
        f"{proof_words(certificate)}; solver {certificate.solver}"
    )


def unserved_line(desired: Desired) -> str:
    """How much of which demand no replica of the plan carries; empty when all is served."""
    short = [workload for workload in desired.workloads if workload.unserved_rps > 0]
    if not short:
        return ""
    unserved_rps, asked_rps = sum(workload.unserved_rps for workload in short), sum(workload.rate_rps for workload in short)
    workloads = "1 workload" if len(short) == 1 else f"{len(short)} workloads"
    return f"UNSERVED {unserved_rps:.3g} of {asked_rps:.3g} requests/s of {workloads}"


def proof_words(certificate: Certificate) -> str:
    """How near to the best possible a plan is proven to be, and what ended the search."""
    ended = {"time_limit": ", stopped by the time limit", "interrupt": ", interrupted"}.get(certificate.stopped_by, "")
    kept = ", kept as it runs (policy.cost_slack_fraction or policy.goals)" if certificate.kept else ""
    return f"{_distance(certificate)}{ended}{kept}"


def _distance(certificate: Certificate) -> str:
    if certificate.status == "optimal":
        return "proven optimal for this problem"
    tiers = certificate.proven_tiers
    worst = next((tier for tier in tiers if tier.gap_fraction > 0), tiers[-1])
    if worst.bound <= 0:
        return f"no bound on {worst.goal} was found, so a better plan may exist"
    return f"within {worst.gap_fraction:.2%} of the best possible {worst.goal} (bound {worst.bound:.6g})"


def _routes(desired: Desired) -> Iterator[str]:
    if desired.routes:
        yield f"Routes at http://{desired.router.host}:{desired.router.port}/v1"
    for route in desired.routes:
        total = sum(backend.weight for backend in route.backends) or 1
        shares = ", ".join(f"{backend.replica} {100 * backend.weight / total:g} %" for backend in route.backends)
        yield f"  {route.served_name}: {shares or 'no replica, clients get a 503'}"
        if route.longer is not None:
            yield f"    longer than {route.longer.over_bytes} bytes, or of unknown length: {route.longer.served_name}"
        for rule in route.apart:
            yield f"    of {rule.workload}: {rule.served_name}"


def apart_lines(desired: Desired) -> Iterator[str]:
    """Workloads that have replicas of their own although they ask for a model that others share."""
    if desired.apart_workloads:
        yield f"Workloads with replicas of their own, told apart by the header {WORKLOAD_HEADER}"
    for item in desired.apart_workloads:
        yield f"  {', '.join(item.workloads)} (priority {item.priority} of {item.model}), as {item.served_name}: {item.reason}"


def split_lines(desired: Desired) -> Iterator[str]:
    """What became of each workload that may be split by the length of its prompts."""
    if desired.prompt_splits:
        yield "Splits by the length of prompts"
    for split in desired.prompt_splits:
        yield f"  {split.workload}: {split.reason}"


def _workloads(desired: Desired) -> Iterator[str]:
    percent = f"p{desired.risk.attainment_fraction * 100:g}"
    simulated = any(workload.kept_load_factor is not None for workload in desired.workloads)
    bears = ("bears",) if simulated else ()
    rows = [("workload", "served by", "class", "requests/s", f"TTFT {percent}/goal", "TPOT/goal", *bears, "unserved")]
    rows.extend(
        (
            workload.name,
            workload.served_name,
            workload.latency_class,
            f"{workload.rate_rps:.2f}",
            _against(workload.ttft_s, workload.ttft_slo_s),
            "-" if workload.tpot_slo_s is None else _against(workload.tpot_s, workload.tpot_slo_s),
            *((_borne(workload.kept_load_factor),) if simulated else ()),
            f"{workload.unserved_rps:.2f}" if workload.unserved_rps else "-",
        )
        for workload in desired.workloads
    )
    yield from table(rows)
    yield from provenance_lines(desired)
    yield from short_lines(desired)


def _borne(kept_load_factor: float | None) -> str:
    return "-" if kept_load_factor is None else f"x{kept_load_factor:g}"


def short_lines(desired: Desired) -> Iterator[str]:
    """Why demand stays unserved, and what its clients will see: the router sends on whatever comes for a model that has replicas."""
    for served_name, group in groupby(sorted(desired.workloads, key=lambda item: item.served_name), key=lambda item: item.served_name):
        members = list(group)
        reason = next((workload.unserved_reason for workload in members if workload.unserved_reason), None)
        if reason is None:
            continue
        unserved_rps = sum(workload.unserved_rps for workload in members)
        yield f"  {served_name}: {unserved_rps:.2f} requests/s unserved: {reason}"
        if any(route.served_name == served_name and route.backends for route in desired.routes):
            served_rps = sum(workload.rate_rps for workload in members) - unserved_rps
            more = f"when more than {served_rps:.2f} requests/s arrive"
            yield f"    the router turns no request away: {more}, all requests for {served_name} wait and miss their goals"
        else:
            yield "    no replica serves this model: clients get a 503"


def provenance_lines(desired: Desired) -> Iterator[str]:
    """What the latencies rest on, the most frequent first."""
    found = Counter(replica.forecast.provenance for replica in desired.replicas if replica.forecast.provenance)
    for provenance, count in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        yield f"  {_counted(count, 'replica')}: step times {provenance}"
    yield from (f"  {caveat}" for caveat in sorted({caveat for replica in desired.replicas for caveat in replica.ledger.caveats}))
    for item in desired.measured_memory:
        block = f", tensor-parallel size {item.tensor_parallel_size}" if item.tensor_parallel_size > 1 else ""
        on = f"vLLM {item.engine_version} on {item.gpu_type}{block}"
        rests_on = f"{_counted(item.starts, 'measured start')} of {_counted(item.models, 'model')}"
        yield f"  memory beside weights and KV cache, {on}: from {rests_on}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _against(is_s: float | None, goal_s: float) -> str:
    return f"{'-' if is_s is None else f'{is_s * 1000:.0f}'}/{goal_s * 1000:.0f} ms"


def node_loss_lines(desired: Desired) -> Iterator[str]:
    """Which models that tolerate the loss of a node survive it, and what that costs."""
    if desired.tolerance_cost_usd_per_h is not None:
        yield f"loss of any one node (to survive it costs {desired.tolerance_cost_usd_per_h:.2f} USD/h)"
    elif desired.node_losses:
        yield "loss of any one node"
    for loss in desired.node_losses:
        if loss.unserved_rps:
            without = f"without {loss.node} {loss.unserved_rps:.4g} requests/s"
            yield f"  {loss.served_name}: NOT survived, {without} cannot be served within the SLO"
        else:
            yield f"  {loss.served_name}: survived, at worst without {loss.node}"


def _baselines(desired: Desired) -> Iterator[str]:
    yield "Cost compared with simpler methods"
    rows = [("method", "GPUs", "USD/h", "unserved/s", "")]
    rows.append(("this plan", str(desired.gpus_used), f"{desired.cost_usd_per_h:.2f}", _unserved(desired), ""))
    for name, baseline in desired.certificate.baselines.items():
        note = (
            ""
            if baseline.fits
            else NEVER_FITS
            if baseline.unserved_rps > 0
            else "does not fit the pools; priced as if they were large enough"
        )
        rows.append((name, str(baseline.gpus), f"{baseline.cost_usd_per_h:.2f}", f"{baseline.unserved_rps:.2f}", note))
    yield from table(rows)


def _unserved(desired: Desired) -> str:
    return f"{sum(workload.unserved_rps for workload in desired.workloads):.2f}"


def _bought(desired: Desired) -> Iterator[str]:
    """What one more GPU or node of each full pool would buy, and the cost with faster or slower engines, where it was asked."""
    for item in desired.explanation.one_more if desired.explanation is not None else ():
        yield one_more_line(desired, item)
    band = desired.certificate.cost_band
    if band is not None:
        yield f"Cost if step times are at p10 and p90 of their band: {band.p10_usd_per_h:.2f} and {band.p90_usd_per_h:.2f} USD/h"


def one_more_line(desired: Desired, item: OneMore) -> str:
    """What one more GPU or node of a pool would buy."""
    what = "one more GPU" if item.unit == "gpu" else f"one more node ({item.gpus} GPUs)"
    gained = [f"{rate_rps:.3g} requests/s of {name}" for name, rate_rps in item.served_rps.items() if rate_rps > 0]
    lost = [f"{-rate_rps:.3g} requests/s of {name}" for name, rate_rps in item.served_rps.items() if rate_rps < 0]
    buys = f"serves {', '.join(gained)}" if gained else "serves no more"
    instead = f", instead of {', '.join(lost)}" if lost else ""
    change = item.cost_usd_per_h - desired.cost_usd_per_h
    return f"With {what} of {item.pool}: {buys}{instead}, {change:+.2f} USD/h{'' if item.proven else ' (not proven optimal)'}"


def action_lines(actions: Sequence[Action]) -> Iterator[str]:
    """What apply will execute, one line each, in order."""
    if not actions:
        yield "No changes: the plan is already applied (`ullage status` shows whether it still runs)."
        return
    yield f"Actions ({len(actions)}), in this order"
    for action in actions:
        yield f"  {_action_line(action)}"


def _action_line(action: Action) -> str:
    match action:
        case Start():
            return f"+ start {action.replica} on {action.node} GPU {','.join(map(str, action.gpus))}  ({action.reason})"
        case Stop() | Drain():
            return f"- {action.kind} {action.replica}  ({action.reason})"
        case Sleep():
            return f"~ sleep {action.replica} at level {action.level}  ({action.reason})"
        case Wake():
            return f"~ wake {action.replica}  ({action.reason})"
        case Repartition():
            return f"~ repartition {action.node} GPU {action.gpu}  ({action.reason})"
        case SetRoutes():
            return f"~ set routes of {len(action.routes)} models  ({action.reason})"


def outage_lines(outages: Sequence[Outage]) -> Iterator[str]:
    """What clients will miss while apply executes the actions."""
    if outages:
        yield "While the actions are executed"
    for item in outages:
        short = f"fewer than {_counted(item.least_replicas, 'replica')} (at least {item.fewest_replicas}) for up to {item.short_s:.0f} s"
        lack = f"UNAVAILABLE for up to {item.unavailable_s:.0f} s" if item.unavailable_s else short
        if item.unavailable_s and item.least_replicas > 1:
            lack += f", {short}"
        yield f"  {item.served_name}: {lack}: {item.reason}"
