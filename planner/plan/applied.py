"""The state that a plan leaves when it is applied."""

from __future__ import annotations

from planner.plan.document import Desired, Plan, State


def state_of(desired: Desired, serial: int) -> State:
    """The state in which all is as desired."""
    return State(
        serial=serial,
        nodes=desired.nodes,
        gpus=desired.gpus,
        replicas=desired.replicas,
        asleep=desired.asleep,
        routes=desired.routes,
        router=desired.router,
    )


def as_applied(plan: Plan) -> State:
    """What apply of a plan that changes something leaves: its desired world, one serial after the state it was made against."""
    return state_of(plan.desired, plan.prior.serial + 1)
