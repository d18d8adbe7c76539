"""The way from what is observed to a goal, as far as replicas may be started now."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from executor.errors import ExecutorError
from executor.reconcile.observe import World
from planner.check import transition_problems
from planner.plan import Action, Desired, Plan, Repartition, Replica, SetRoutes, Start, State, state_of
from planner.routes import routes_for
from planner.schedule.sleeping import without_absent
from planner.transitions.change import change
from profiles.catalogue import builtin


class Approach(NamedTuple):
    """The plan from what is observed, and why parts of the goal are left out of it."""

    plan: Plan
    left_out: tuple[str, ...]


def approach(world: World, goal: Plan, refusal: Callable[[Replica], str | None], *, with_copies: bool = True) -> Approach:
    """The actions to the goal without the replicas that may not start now; those of that name that run stay as they are.

    A copy for the time of the change that may not start now is done without, and so are all others.
    """
    wanted = {replica.name: replica for replica in goal.desired.replicas}
    desired, repairs = goal.desired, world.repairs
    left_out: dict[str, str] = {}
    while True:
        plan = change(world.state, desired, repairs=repairs, with_copies=with_copies)
        if any(refusal(copy) is not None for copy in plan.temporary):
            plan = change(world.state, desired, repairs=repairs, with_copies=False)
        copies = {copy.name for copy in plan.temporary}
        starts = [action.replica for action in plan.actions if isinstance(action, Start) and action.replica not in copies]
        refused = {name: why for name in starts if (why := refusal(wanted[name])) is not None}
        # each round leaves out one more: whoever could not be left out would be started
        if not refused.keys() - left_out.keys():
            return Approach(plan, tuple(f"replica {name}: {why}" for name, why in sorted(left_out.items())))
        left_out.update(refused)
        desired = _without(goal.desired, left_out.keys(), world)
        repairs = replace(repairs, outdated={name: why for name, why in repairs.outdated.items() if name not in left_out})


def safe_way(world: World, goal: Plan, state: State, refusal: Callable[[Replica], str | None], *, with_copies: bool = True) -> Approach:
    """The way to the goal; where there is no safe one now, that without sleepers that do not run, or that to what ran before.

    Raises ExecutorError where there is none at all.
    """
    way = approach(world, goal, refusal, with_copies=with_copies)
    found = transition_problems(way.plan, world.state, builtin().gpu)
    if not found:
        return way
    awake = _without_absent(world, goal, refusal, with_copies=with_copies)
    if awake is not None:
        return awake
    back = approach(world, as_it_was(goal, state), refusal)
    still = transition_problems(back.plan, world.state, builtin().gpu)
    if still:
        raise ExecutorError("there is no safe way to the plan, so nothing was done: " + "; ".join(still))
    told = f"there is no safe way to the plan now, and what ran before is kept: {found[0]}"
    return Approach(back.plan, (*way.left_out, *back.left_out, told))


def _without_absent(world: World, goal: Plan, refusal: Callable[[Replica], str | None], *, with_copies: bool) -> Approach | None:
    """The way without sleepers that do not run, where the others leave no room to start them; None where that is no way either."""
    alive = tuple(replica for replica in world.state.replicas if replica.name not in world.repairs.useless)
    desired = without_absent(goal.desired, world.state.model_copy(update={"replicas": alive}))
    absent = sorted({item.name for item in goal.desired.replicas} - {item.name for item in desired.replicas})
    if not absent:
        return None
    way = approach(world, goal.model_copy(update={"desired": desired}), refusal, with_copies=with_copies)
    if transition_problems(way.plan, world.state, builtin().gpu):
        return None
    why = "is to sleep and does not run; beside those that are awake there is no room to start it"
    return Approach(way.plan, (*way.left_out, *(f"replica {name}: {why}" for name in absent)))


def _without(desired: Desired, names: AbstractSet[str], world: World) -> Desired:
    """The desired world without some replicas; where one of that name runs, with that one."""
    running = {replica.name: replica for replica in world.state.replicas if replica.name not in world.repairs.useless}
    kept: list[Replica] = []
    for replica in desired.replicas:
        if replica.name not in names:
            kept.append(replica)
        elif replica.name in running:
            kept.append(running[replica.name])
    # a kept one that sleeps goes on sleeping
    levels = {item.name: item for item in desired.asleep if item.name not in names}
    levels |= {item.name: item for item in world.state.asleep if item.name in names and item.name in running}
    awake = [replica for replica in kept if replica.name not in levels]
    routes = routes_for(awake, [route.served_name for route in desired.routes])
    asleep = tuple(levels[name] for name in sorted(levels))
    return desired.model_copy(update={"replicas": tuple(kept), "routes": routes, "asleep": asleep})


def as_it_was(goal: Plan, state: State) -> Plan:
    """What the state says, as a plan: to start again what has died of it, and to change nothing else."""
    update = {"replicas": state.replicas, "routes": state.routes, "asleep": state.asleep, "gpus": state.gpus, "nodes": state.nodes}
    return goal.model_copy(update={"desired": goal.desired.model_copy(update=update)})


def differs(state: State, desired: Desired) -> bool:
    """Whether the state says anything else than the plan, also what no action changes: rates, floors, GPUs."""
    return state != state_of(desired, state.serial)


def in_words(action: Action) -> str:
    """An action as people say it."""
    match action:
        case Repartition():
            return f"repartition GPU {action.gpu} of {action.node}"
        case SetRoutes():
            return "set routes"
        case _:
            return f"{action.kind} {action.replica}"
