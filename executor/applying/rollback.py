"""The way back after a change that failed: to the plan that was applied before it."""

from __future__ import annotations

from collections.abc import Callable

from executor.applying.steps import StartingPoint, Steps
from executor.backends.protocol import Backend
from executor.errors import ExecutorError, RegressionError, StartError
from executor.events import OnEvent
from executor.state.applied_plans import applied_plans, keep
from executor.state.folder import StateFolder
from executor.state.goal import set_goal
from executor.state.journal import Journal
from planner.check import transition_problems
from planner.plan import Plan, State, plan_hash
from planner.rollout_rules import Rollout
from planner.transitions.change import change
from planner.transitions.transition import same_engine
from profiles.catalogue import builtin


def _nothing() -> None:
    """Nobody wants to be told."""


def plan_before(folder: StateFolder, plan: Plan, reached: str | None) -> Plan | None:
    """What runs before this plan is begun: the last one that was applied to its end; reached is what the journal says of it.

    None where there is none to go back to: nothing was applied since everything was destroyed, it cannot be read, or it wants the same.
    """
    kept = applied_plans(folder)
    if reached is None or not kept or kept[-1].plan is None or kept[-1].plan.desired == plan.desired:
        return None
    return kept[-1].plan


def unwatched(plan: Plan) -> Plan:
    """The plan with all that is new let in at once."""
    rules = plan.desired.rules.model_copy(update={"rollout": Rollout()})
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"rules": rules})})


def is_to_blame(error: ExecutorError, plan: Plan, previous: Plan) -> bool:
    """Whether what failed is what the plan changes: a replica that does worse, or one that does not start and was not there before."""
    if isinstance(error, RegressionError):
        return True
    if not isinstance(error, StartError):
        return False
    before = {replica.name: replica for replica in previous.desired.replicas}
    return any(item.name == error.replica and not same_engine(before.get(item.name), item) for item in plan.desired.replicas)


async def roll_back(
    previous: Plan, folder: StateFolder, backend: Backend, on_event: OnEvent, begun: Callable[[], None] = _nothing
) -> State:
    """Make reality equal to an earlier plan again, which is what is to be kept from now on. Raises ExecutorError.

    What was well before is not watched again. begun is called once the way back is known to be safe, before anything is done.
    """
    state = folder.load()
    observed = backend.observe()
    living = tuple(replica for replica in state.replicas if replica.name in observed and observed[replica.name].alive)
    names = {replica.name for replica in living}
    now = state.model_copy(update={"replicas": living, "asleep": tuple(item for item in state.asleep if item.name in names)})
    way = change(now, unwatched(previous).desired)
    found = transition_problems(way, now, builtin().gpu)
    if found:
        raise ExecutorError("the way back is not safe, so nothing more was done: " + "; ".join(found))
    begun()
    set_goal(folder, previous)
    journal = Journal(folder.journal_path)
    steps = Steps(way, folder, backend, journal, on_event, StartingPoint(now, state.serial + 1))
    journal.begin(plan_hash(way), state.serial, goal=plan_hash(previous))
    try:
        await steps.run(frozenset())
    except ExecutorError as error:
        journal.end(ok=False, detail=str(error))
        raise
    keep(folder, previous, steps.state.serial)
    journal.end(ok=True)
    return steps.state
