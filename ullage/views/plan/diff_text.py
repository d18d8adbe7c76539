"""What changes from one plan to another, as text."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import Action, Plan
from ullage.views.plan.plan_text import action_lines, fleet_line


def diff_text(before: Plan, after: Plan, actions: Sequence[Action]) -> str:
    """Both plans in a line each, what the change costs, and the actions from the first, as it runs, to the second; ends in a newline."""
    change_usd_per_h = after.desired.cost_usd_per_h - before.desired.cost_usd_per_h
    lines = [
        f"before: {fleet_line(before.desired)}",
        f"after:  {fleet_line(after.desired)}",
        f"change: {change_usd_per_h:+.2f} USD/h, {unserved_rps(after) - unserved_rps(before):+.3g} requests/s unserved",
        "",
        *(action_lines(actions) if actions else ["No actions: both plans run the same replicas in the same places."]),
    ]
    return "\n".join(lines) + "\n"


def parts_line(parts: Sequence[str]) -> str:
    """Which parts of the desired world differ."""
    return f"differs in: {', '.join(parts)}" if parts else "the plans are alike"


def unserved_rps(plan: Plan) -> float:
    """Demand of all workloads that no replica carries, in requests/s."""
    return sum(workload.unserved_rps for workload in plan.desired.workloads)
