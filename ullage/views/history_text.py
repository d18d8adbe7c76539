"""The plans that were applied, as text."""

from __future__ import annotations

from collections.abc import Sequence

from executor.state.applied_plans import AppliedPlan
from ullage.views.words import table


def history_text(kept: Sequence[AppliedPlan], serial: int) -> str:
    """A line per applied plan, the present state marked; ends in a newline."""
    if not kept:
        return "no plan was applied from this state folder\n"
    rows = [("state", "applied (UTC)", "GPUs", "USD/h", "replicas", "actions", "")]
    for item in kept:
        mark = "now" if item.serial == serial else ""
        if item.plan is None:
            rows.append((str(item.serial), "-", "-", "-", "-", "-", f"cannot be read: {item.fault}"))
            continue
        desired = item.plan.desired
        numbers = (str(desired.gpus_used), f"{desired.cost_usd_per_h:.2f}", str(len(desired.replicas)), str(len(item.plan.actions)))
        rows.append((str(item.serial), item.at[:19].replace("T", " ") or "-", *numbers, mark))
    return "\n".join(line.rstrip() for line in table(rows)) + "\n"
