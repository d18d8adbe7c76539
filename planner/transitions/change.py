"""The plan that leads from what runs to a desired world, whoever decided on it."""

from __future__ import annotations

from collections.abc import Sequence

from planner.ordering.batches import ChangeWithCopies, ways_with_copies
from planner.ordering.disturbance import disturbance
from planner.ordering.spares import with_spares
from planner.plan import Action, Desired, Outage, Plan, Prior, Replica, State, TierResult, state_hash
from planner.transitions.diff import diff
from planner.transitions.outages import outages
from planner.transitions.repairs import NO_REPAIRS, Repairs


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
    state: State, desired: Desired, repairs: Repairs, plain: tuple[Action, ...], told: Sequence[Outage]
) -> tuple[tuple[Action, ...], tuple[Replica, ...]]:
    """The way with copies on which clients notice least; the actions as they are where they notice no less on any."""
    best, least = ChangeWithCopies(plain, ()), disturbance(state, desired, plain)[:3]
    for way in ways_with_copies(state, desired, repairs, told):
        noticed = disturbance(state, desired, *way)[:3]
        best, least = (way, noticed) if noticed < least else (best, least)
    return best
