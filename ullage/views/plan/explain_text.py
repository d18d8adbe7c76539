"""Why a plan is as it is, in sentences: for the whole plan, or for one workload, model, replica, node or GPU."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, Explanation
from planner.spec.nearest import nearest
from ullage.views.plan.model_text import limit_line, model_lines
from ullage.views.plan.place_text import gpu_lines, gpu_of, node_lines, place_named
from ullage.views.plan.plan_text import one_more_line


def explain_text(desired: Desired, subject: str | None) -> str:
    """Text for a terminal, ends in a newline. ValueError for a subject that the plan does not have, or a plan without reasons in it."""
    reasons = desired.explanation
    if reasons is None:
        raise ValueError("this plan contains no explanation; make it again with `ullage plan`")
    if subject is None:
        return "\n".join([*_overview(desired, reasons), *resolved_lines(desired, reasons)]) + "\n"
    gpu = gpu_of(desired, subject)
    if gpu is not None:
        return "\n".join(gpu_lines(desired, reasons, gpu)) + "\n"
    if subject in {node.name for node in desired.nodes} and not _is_served(desired, subject):
        return "\n".join(node_lines(desired, reasons, subject)) + "\n"
    served_names = _served_names(desired, subject)
    models = [model for model in reasons.models if model.served_name in served_names]
    chosen = [replica for replica in desired.replicas if replica.name == subject]
    replicas = chosen or [replica for replica in desired.replicas if replica.served_name in served_names]
    lines = [line for model in models for line in model_lines(desired, reasons, model, replicas)]
    return "\n".join([*lines, *resolved_lines(desired, reasons)]) + "\n"


def _served_names(desired: Desired, subject: str) -> set[str]:
    found = {workload.served_name for workload in desired.workloads if subject in {workload.name, workload.served_name}}
    found |= {replica.served_name for replica in desired.replicas if replica.name == subject}
    if not found:
        names = sorted({workload.name for workload in desired.workloads} | {workload.served_name for workload in desired.workloads})
        places = [node.name for node in desired.nodes]
        close = nearest(place_named(subject), [*names, *places])
        hint = f"did you mean {close!r}? " if close else ""
        raise ValueError(
            f"the plan has no workload, model, replica, node or GPU {subject!r}; {hint}it has {', '.join(names[:20])}; "
            f"nodes {', '.join(places[:8])}{', ...' if len(places) > 8 else ''} (a GPU is written {places[0] if places else 'node'}/0)"
        )
    return found


def _is_served(desired: Desired, subject: str) -> bool:
    """Whether a workload, model or replica has this name: a node of the same name then gives way."""
    served = {name for row in desired.workloads for name in (row.name, row.served_name)}
    return subject in served or subject in {replica.name for replica in desired.replicas}


def _overview(desired: Desired, reasons: Explanation) -> Iterator[str]:
    yield "What limits each model, and what would break it first"
    yield from (f"  {model.served_name}: {limit_line(desired, model)}" for model in reasons.models)
    yield "How full each GPU in use is"
    for row in reasons.gpus:
        parts = f"memory {row.memory_fraction:.0%}, active residents {row.active_fraction:.0%}, compute {row.compute_fraction:.0%}"
        yield f"  {row.node} GPU {row.gpu}: {parts}"


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
