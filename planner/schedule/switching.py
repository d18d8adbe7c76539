"""The change from one phase to the next: how long it takes, how early it may begin, and who is late all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from planner.plan import Desired, Drain, Plan, Route, SetRoutes, Start, state_of
from planner.transitions.outages import SleepTimes, batch_s


@dataclass(frozen=True, slots=True)
class Switch:
    """The change takes change_s at most and may begin lead_s before the phase: until then it only adds to what is there.

    late_s is for how long after the phase begins a model that it asks for has no ready replica, at most; models that are in time are not
    in it.
    """

    change_s: float
    lead_s: float
    late_s: Mapping[str, float]


def switch(before: Desired, way: Plan) -> Switch:
    """What the actions from one phase to the next (the plan's) are in time, as long as apply waits for them at most."""
    state, after, actions = state_of(before, 1), way.desired, way.actions
    wanted = {replica.name: replica for replica in way.started}
    spent = SleepTimes(state, after)
    served = _served(before.routes)
    asked = {workload.served_name for workload in after.workloads if workload.unserved_rps < workload.rate_rps}
    ready_s: dict[str, float] = {}
    time_s, leaves_s = 0.0, None
    for kind, group in groupby(actions, key=lambda action: action.kind):
        for action in (batch := list(group)):
            if isinstance(action, SetRoutes):
                now = _served(action.routes)
                if leaves_s is None and any(not names <= now.get(name, set()) for name, names in served.items()):
                    leaves_s = time_s
                served = now
                ready_s |= {name: time_s for name in asked if served.get(name) and name not in ready_s}
            elif isinstance(action, Drain) and leaves_s is None:
                leaves_s = time_s
        starts = [wanted[action.replica] for action in batch if isinstance(action, Start) and action.replica in wanted]
        time_s += batch_s(kind, starts) + sum(map(spent.spent_s, batch))
    missing = asked - {name for name, names in _served(before.routes).items() if names}
    last_s = max((ready_s.get(name, time_s) for name in missing), default=0.0)
    lead_s = last_s if leaves_s is None else min(leaves_s, last_s)
    late_s = {name: ready_s.get(name, time_s) - lead_s for name in sorted(missing) if ready_s.get(name, time_s) > lead_s}
    return Switch(time_s, lead_s, late_s)


def _served(routes: Sequence[Route]) -> dict[str, set[str]]:
    return {route.served_name: {backend.replica for backend in route.backends} for route in routes}
