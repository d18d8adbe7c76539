"""The plan that leads from what runs to a desired world, whoever decided on it."""

from __future__ import annotations

from collections.abc import Sequence

from planner.diff import diff
from planner.ordering.copies import copies
from planner.ordering.disturbance import disturbance
from planner.ordering.spares import with_spares
from planner.outages import outages
from planner.plan import Action, Desired, Outage, Plan, Prior, Replica, SetRoutes, Start, State, TierResult, state_hash, state_of
from planner.repairs import NO_REPAIRS, Repairs
from planner.routes import routes_for

_MEANWHILE = "serves while others make room for each other, and stops at the end"


def change(
    state: State, desired: Desired, churn: TierResult | None = None, repairs: Repairs = NO_REPAIRS, *, with_copies: bool = True
) -> Plan:
    """The actions from the state to the desired world, and what they keep from clients meanwhile.

    with_copies: a copy on a free GPU may serve for the time of the change, where that spares clients something.
    """
    actions: tuple[Action, ...] = diff(state, desired, repairs)
    told = outages(state, desired, actions)
    temporary: tuple[Replica, ...] = ()
    if told and with_copies:
        actions, temporary = _with_copies(state, desired, repairs, actions, told)
        told = outages(state, desired, actions, temporary)
    return Plan(
        desired=desired,
        prior=Prior(serial=state.serial, state_hash=state_hash(state)),
        actions=actions,
        churn=churn,
        outages=with_spares(state, desired, told, repairs),
        temporary=temporary,
    )


def _with_copies(
    state: State, desired: Desired, repairs: Repairs, actions: tuple[Action, ...], told: Sequence[Outage]
) -> tuple[tuple[Action, ...], tuple[Replica, ...]]:
    """To a world with copies, and from there to the desired one without them; the actions as they are where clients notice no less."""
    found = copies(state, desired, told)
    if not found:
        return actions, ()
    replicas = tuple(sorted((*desired.replicas, *found), key=lambda replica: replica.name))
    asleep = {item.name for item in desired.asleep}
    awake = [replica for replica in replicas if replica.name not in asleep]
    routes = routes_for(awake, [route.served_name for route in desired.routes])
    between = desired.model_copy(update={"replicas": replicas, "routes": routes})
    there = [_told(action, found) for action in diff(state, between, repairs)]
    # whom the last routes of the first part let in, the first of the second do, too
    there = there[:-1] if isinstance(there[-1], SetRoutes) else there
    both = (*there, *diff(state_of(between, state.serial), desired))
    noticed, noticed_with = (disturbance(state, desired, each, found)[:3] for each in (actions, both))
    return (both, found) if noticed_with < noticed else (actions, ())


def _told(action: Action, found: Sequence[Replica]) -> Action:
    if isinstance(action, Start) and action.replica in {replica.name for replica in found}:
        return action.model_copy(update={"reason": _MEANWHILE})
    return action
