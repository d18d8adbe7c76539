"""The state that a plan leaves when it is applied."""

from __future__ import annotations

from planner.plan.document import Plan, State


def as_applied(plan: Plan) -> State:
    """What apply of a plan that changes something leaves: its desired world, one serial after the state it was made against."""
    desired = plan.desired
    return State(
        serial=plan.prior.serial + 1,
        nodes=desired.nodes,
        gpus=desired.gpus,
        replicas=desired.replicas,
        asleep=desired.asleep,
        routes=desired.routes,
        router=desired.router,
    )
