"""The way back after a change that failed: to the plan that was applied before it."""

from __future__ import annotations

from executor.applying.steps import StartingPoint, Steps
from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.events import OnEvent
from executor.state.applied_plans import applied_plans, keep
from executor.state.folder import StateFolder
from executor.state.goal import set_goal
from executor.state.journal import Journal
from planner.change import change
from planner.check import transition_problems
from planner.plan import Plan, State, plan_hash
from planner.rollout_rules import Rollout
from profiles.catalogue import builtin


def plan_before(folder: StateFolder, plan: Plan) -> Plan | None:
    """The last plan that was applied to its end before this one; None where there is none, or it cannot be read."""
    found = [item.plan for item in applied_plans(folder) if item.plan is not None and item.plan.desired != plan.desired]
    return found[-1] if found else None


async def roll_back(previous: Plan, folder: StateFolder, backend: Backend, on_event: OnEvent) -> State:
    """Make reality equal to an earlier plan again, which is what is to be kept from now on. Raises ExecutorError."""
    state = folder.load()
    observed = backend.observe()
    living = tuple(replica for replica in state.replicas if replica.name in observed and observed[replica.name].alive)
    # what was well before is not watched again
    rules = previous.desired.rules.model_copy(update={"rollout": Rollout()})
    desired = previous.desired.model_copy(update={"rules": rules})
    names = {replica.name for replica in living}
    now = state.model_copy(update={"replicas": living, "asleep": tuple(item for item in state.asleep if item.name in names)})
    way = change(now, desired)
    found = transition_problems(way, now, builtin().gpu)
    if found:
        raise ExecutorError("the way back is not safe, so nothing more was done: " + "; ".join(found))
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
