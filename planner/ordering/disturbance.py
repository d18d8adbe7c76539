"""What clients notice of a list of actions, as one comparable figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from planner.plan import Action, Desired, Replica, SetRoutes, Start, State, Stop
from planner.transitions.outages import SleepTimes, batch_s, outages
from planner.transitions.transition import RELATIVE, needs


class Disturbance(NamedTuple):
    """Less is better, the first difference decides; over all served names, in thousandths of a second.

    Without any ready replica, with fewer than there must be, with less capacity than is needed (by model), and from the first action to
    the last. Whole numbers: sums do not depend on the order of their parts.
    """

    none_ms: int = 0
    short_ms: int = 0
    starved_ms: int = 0
    duration_ms: int = 0

    def after(self, other: Disturbance) -> Disturbance:
        """Both, one after the other."""
        return Disturbance(*(mine + its for mine, its in zip(self, other, strict=True)))


def in_ms(seconds: float) -> int:
    """Seconds as whole thousandths."""
    return round(1000 * seconds)


def disturbance(state: State, desired: Desired, actions: Sequence[Action], temporary: Sequence[Replica] = ()) -> Disturbance:
    """What the actions cost clients, for as long as apply may take for them; temporary are further replicas that they may start."""
    told = outages(state, desired, actions, temporary)
    wanted = {replica.name: replica for replica in (*desired.replicas, *temporary)}
    running = {replica.name: replica for replica in state.replicas}
    asked = needs(state, desired)
    capacities_rps = {replica.name: replica.capacity_rps for replica in (*desired.replicas, *temporary, *state.replicas)}
    routed = {route.served_name: [backend.replica for backend in route.backends] for route in state.routes}
    sleepers = SleepTimes(state, desired)
    starved_ms = duration_ms = 0
    for kind, group in groupby(actions, key=lambda action: action.kind):
        batch = list(group)
        for action in batch:
            if isinstance(action, SetRoutes):
                routed = {route.served_name: [backend.replica for backend in route.backends] for route in action.routes}
            elif isinstance(action, Stop):
                running.pop(action.replica, None)
                if action.replica in wanted:
                    capacities_rps[action.replica] = wanted[action.replica].capacity_rps
        started = [wanted[action.replica] for action in batch if isinstance(action, Start)]
        took_ms = in_ms(batch_s(kind, started)) + sum(in_ms(sleepers.spent_s(action)) for action in batch)
        duration_ms += took_ms
        for name, (_, capacity_rps) in asked.items() if took_ms else ():
            has_rps = sum(capacities_rps[replica] for replica in routed.get(name, ()))
            starved_ms += took_ms if has_rps < capacity_rps * (1 - RELATIVE) else 0
    return Disturbance(
        sum(in_ms(outage.unavailable_s) for outage in told), sum(in_ms(outage.short_s) for outage in told), starved_ms, duration_ms
    )
