"""The plan that leads from what runs to a desired world, whoever decided on it."""

from __future__ import annotations

from planner.diff import diff
from planner.outages import outages
from planner.plan import Desired, Plan, Prior, State, TierResult, state_hash


def change(state: State, desired: Desired, churn: TierResult | None = None) -> Plan:
    """The actions from the state to the desired world, and what they keep from clients meanwhile."""
    actions = diff(state, desired)
    return Plan(
        desired=desired,
        prior=Prior(serial=state.serial, state_hash=state_hash(state)),
        actions=actions,
        churn=churn,
        outages=outages(state, desired, actions),
    )
