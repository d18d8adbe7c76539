"""What the disruption budget keeps from happening when a phase begins: schedules follow the clock, budgets people's hours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.disruption_budget import WEEK_S, in_words
from planner.plan import Desired, Drain, Plan


def waits(before: Desired, way: Plan, starts_s: Sequence[float], every_s: float | None) -> Iterator[str]:
    """Sentences on what waits of a change into a phase that begins at these times of the clock, each day or week (None: once)."""
    budget = way.desired.rules.disruption_budget
    copies = {copy.name for copy in way.temporary}
    asleep = {item.name for item in before.asleep}
    served = {replica.name: replica.args.names for replica in before.replicas if replica.name not in asleep}
    leaving = {action.replica for action in way.actions if isinstance(action, Drain) and action.replica in served} - copies
    names = {name for replica in leaving for name in served[replica]}
    for name in sorted(names & set(budget.protected)):
        yield f"replicas of {name} would leave, which policy.disruption_budget protects: they stay, and what needs their room waits"
    times_s = [start_s + count * every_s for start_s in starts_s for count in range(round(WEEK_S / every_s))] if every_s else [*starts_s]
    closed_s = [time_s % WEEK_S for time_s in times_s if not budget.is_open_at(time_s % WEEK_S)]
    if names and closed_s:
        opens = in_words(budget.next_opening_s(closed_s[0]))
        yield f"no window of policy.disruption_budget is open at {in_words(closed_s[0])}: who is to leave stays until {opens}"
