"""The plan that leads from what runs to a desired world, whoever decided on it."""

from __future__ import annotations

from planner.diff import diff
from planner.ordering.spares import with_spares
from planner.outages import outages
from planner.plan import Desired, Plan, Prior, State, TierResult, state_hash
from planner.repairs import NO_REPAIRS, Repairs


def change(state: State, desired: Desired, churn: TierResult | None = None, repairs: Repairs = NO_REPAIRS) -> Plan:
    """The actions from the state to the desired world, and what they keep from clients meanwhile."""
    actions = diff(state, desired, repairs)
    return Plan(
        desired=desired,
        prior=Prior(serial=state.serial, state_hash=state_hash(state)),
        actions=actions,
        churn=churn,
        outages=with_spares(state, desired, outages(state, desired, actions), repairs),
    )
