"""What a burst does, and what the playbook makes of it, as text."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Burst
from ullage.traffic.burst_answer import BurstAnswer, BurstRow
from ullage.views.plan.bursts_text import burst_line, step_lines
from ullage.views.words import table


def burst_text(answer: BurstAnswer) -> str:
    """The entry of the playbook, then each workload while the burst lasts; ends in a newline."""
    whence = "from the plan's playbook" if answer.in_plan else "not in the plan; made now"
    lines = [f"{burst_line(answer.burst, answer.goal_fraction)}  ({whence})", *step_lines(answer.burst.steps), ""]
    lines.append(f"Simulated for {answer.duration_s:g} s after a minute of planned load; the worst of slow steps and dear neighbours")
    rows = [("workload", "requests", "goals met without playbook", "with all its steps", "refused")]
    lines += table([*rows, *(_row(row) for row in answer.rows)])
    return "\n".join(lines) + "\n"


def entry_lines(item: Burst, goal_fraction: float) -> Iterator[str]:
    """An entry of the playbook in full."""
    yield burst_line(item, goal_fraction)
    yield from step_lines(item.steps)


def _row(row: BurstRow) -> tuple[str, ...]:
    return (row.workload, str(row.requests), _percent(row.without_fraction), _percent(row.with_fraction), str(row.refused_requests or "-"))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"
