"""Plans between least cost and least disturbance, as a table or for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ullage.planning.frontier import FrontierPoint
from ullage.views.words import table

NOTHING_RUNS = "Nothing runs, so there is nothing to disturb: this is the one plan, and `ullage plan` makes it."


def frontier_text(points: Sequence[FrontierPoint], *, runs: bool, verified: bool) -> str:
    """A line per plan, the cheapest first, and how one of them is made; ends in a newline."""
    heading = ("USD/h", "GPUs", "GiB to load", "replicas stopped", "s without a replica", "unserved/s", "option" if runs else "")
    rows = [
        (
            f"{point.cost_usd_per_h:.2f}",
            str(point.gpus_used),
            f"{point.loads_gib:.1f}",
            str(point.stopped_replicas),
            f"{point.unavailable_s:.0f}",
            f"{point.unserved_rps:.2f}",
            f"{point.option} (or as the file is)" if point.as_it_is and runs else point.option,
        )
        for point in points
    ]
    lines = ["Plans between least cost and least disturbance of what runs", *table([heading, *rows]), ""]
    lines.append(_how_to_get(points) if runs else NOTHING_RUNS)
    if not verified:
        lines.append(
            "No plan was simulated here. `ullage plan` simulates, and gives models that fall short more room (--no-verify: it does not)."
        )
    return "\n".join(lines) + "\n"


def _how_to_get(points: Sequence[FrontierPoint]) -> str:
    which = "the only one that no other beats" if len(points) == 1 else "each disturbs less than those above it, and costs more"
    return f"To get one ({which}): write its option into the fleet file, then `ullage plan`."


def frontier_json(points: Sequence[FrontierPoint], *, runs: bool) -> dict[str, Any]:
    """The figures of each plan; nothing_runs tells why there is one alone."""
    return {
        "nothing_runs": not runs,
        "points": [
            {
                "as_it_is": point.as_it_is,
                "cost_usd_per_h": point.cost_usd_per_h,
                "gpus_used": point.gpus_used,
                "loads_gib": round(point.loads_gib, 3),
                "option": point.option,
                "outages": {item.served_name: item.unavailable_s for item in point.plan.outages},
                "stopped_replicas": point.stopped_replicas,
                "unavailable_s": point.unavailable_s,
                "unserved_rps": point.unserved_rps,
            }
            for point in points
        ],
    }
