"""What compact moves and what that frees, as text."""

from __future__ import annotations

from planner.plan import Plan
from ullage.planning.compacting import Compacted, MoveBudget, largest_free_mib, moved_replicas, unusable_gpus_of
from ullage.planning.frontier import FrontierPoint
from ullage.views.plan.plan_text import action_lines, outage_lines
from ullage.views.words import MIB_PER_GIB, table


def compact_text(compacted: Compacted, budget: MoveBudget) -> str:
    """Free capacity before and after, and the actions; ends in a newline."""
    before, after = compacted.before, compacted.after
    if not compacted.helps:
        limit = "" if budget.load_gib is None else f" and {budget.load_gib:g} GiB of weights"
        moves = "1 move" if budget.replicas == 1 else f"{budget.replicas} moves"
        return f"Within {moves}{limit} nothing brings free capacity together: fragmentation stays {unusable_gpus_of(before):.2f} GPUs.\n"
    lines = [
        f"{_moves(after)}, {FrontierPoint('', after).loads_gib:.1f} GiB of weights to load, {after.desired.cost_usd_per_h:.2f} USD/h",
        *table([("free capacity", "before", "after"), *(_row(what, before, after) for what in _FIGURES)]),
        "",
        *action_lines(after.actions),
    ]
    outages = list(outage_lines(after.outages))
    return "\n".join([*lines, *(["", *outages] if outages else [])]) + "\n"


def _moves(plan: Plan) -> str:
    count = moved_replicas(plan)
    return "1 replica moves" if count == 1 else f"{count} replicas move"


_FIGURES = {
    "fragmentation (GPUs that nobody could use)": lambda plan: f"{unusable_gpus_of(plan):.2f}",
    "whole GPUs free": lambda plan: str(len(plan.desired.gpus) - plan.desired.gpus_used),
    "largest free piece (GiB, KV caches as small as planned)": lambda plan: f"{largest_free_mib(plan) / MIB_PER_GIB:.1f}",
}


def _row(what: str, before: Plan, after: Plan) -> tuple[str, str, str]:
    return what, _FIGURES[what](before), _FIGURES[what](after)
