"""From what runs to what is desired: the list of actions that plan prints and apply executes.

Replicas that fit beside everything that runs start first. Then, in rounds: the router leaves those that can be spared, they drain and stop,
GPUs change their MIG layout, and what has room by now starts. Where none can be spared, one of a model stops and its successor starts
before the next one. The final routes are set last; on the way a model of the plan without a ready replica stays known to the router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from planner.plan import Action, Desired, Drain, Replica, Route, SetRoutes, Sleep, Start, State, Stop
from planner.repairs import NO_REPAIRS, Repairs
from planner.transition import Transition, layouts_to_change

_Why = Callable[[Replica], str]


def diff(state: State, desired: Desired, repairs: Repairs = NO_REPAIRS) -> tuple[Action, ...]:
    """Actions that turn a state into the desired world; empty when nothing differs and nothing is to be repaired."""
    repairs = _with_sleepers(state, desired, repairs)
    world = Transition(state, desired, layouts_to_change(state, desired), repairs.names)
    routes = state.routes
    before = {replica.name for replica in state.replicas}
    why = _why_going(desired, repairs)
    # whoever waits for them waits in vain: they make room before anything else happens
    useless = [replica for replica in world.going if replica.name in repairs.useless]
    actions = _leave(world, useless, routes, why)
    routes = world.routes(useless) if useless else routes
    world.stop(useless)
    unready = world.routes()
    first: list[Action] = [*world.repartition(), *(_start(replica, before) for replica in world.start())]
    if first and routes and {route.served_name for route in unready} != {route.served_name for route in routes}:
        routes = unready
        actions.append(SetRoutes(routes=routes, reason="name the models that start: 503 until one is ready"))
    actions += first
    while world.going or world.coming:
        leaving = world.unneeded() or world.forced()
        actions += _leave(world, leaving, routes, why)
        routes = world.routes(leaving)
        world.stop(leaving)
        # when nothing is left to stop there is room for all, or the plan is wrong, which is the checker's to say
        actions += [*world.repartition(), *(_start(replica, before) for replica in world.start(anyhow=not world.going))]
    actions += world.repartition()
    if routes != desired.routes or state.router != desired.router:
        actions.append(SetRoutes(routes=desired.routes, reason="route to the desired replicas"))
    return (*actions, *_sleeps(state, desired, actions))


def _with_sleepers(state: State, desired: Desired, repairs: Repairs) -> Repairs:
    """Nobody is served by replicas that sleep otherwise than desired: they start again, which needs no room but their own."""
    kept, wanted = {(item.name, item.level) for item in desired.asleep}, {replica.name for replica in desired.replicas}
    others = [item.name for item in state.asleep if (item.name, item.level) not in kept and item.name in wanted]
    return (
        replace(repairs, useless={**dict.fromkeys(others, "sleeps otherwise than the plan wants"), **repairs.useless})
        if others
        else repairs
    )


def _sleeps(state: State, desired: Desired, actions: Sequence[Action]) -> Iterator[Action]:
    """Those that are to sleep and are awake after the actions, which leave them out of the routes."""
    started = {action.replica for action in actions if isinstance(action, Start)}
    asleep = {item for item in state.asleep if item.name not in started}
    for item in desired.asleep:
        if item not in asleep:
            yield Drain(replica=item.name, reason="is to sleep")
            yield Sleep(replica=item.name, level=item.level, reason="is to sleep")


def _leave(world: Transition, leaving: Sequence[Replica], routes: tuple[Route, ...], why: _Why) -> list[Action]:
    """Out of the routes, drained, stopped."""
    actions: list[Action] = []
    without = world.routes(leaving)
    if leaving and without != routes:
        actions.append(SetRoutes(routes=without, reason="take replicas that go out of the router, let in those that are ready"))
    actions += [Drain(replica=replica.name, reason=why(replica)) for replica in leaving]
    actions += [Stop(replica=replica.name, reason=why(replica)) for replica in leaving]
    return actions


def _why_going(desired: Desired, repairs: Repairs) -> _Why:
    after = {replica.name: replica.served_name for replica in desired.replicas}

    def why(replica: Replica) -> str:
        known = repairs.useless.get(replica.name) or repairs.outdated.get(replica.name)
        if known is not None:
            return known
        if replica.name in after:
            return "replaced by other engine arguments"
        return f"other replicas serve {replica.served_name}" if replica.served_name in after.values() else "not in the plan"

    return why


def _start(replica: Replica, before: set[str]) -> Start:
    reason = (
        "replaces the replica of this name" if replica.name in before else f"{replica.planned_rps:.3g} requests/s of {replica.served_name}"
    )
    return Start(replica=replica.name, node=replica.node, gpus=replica.gpus, reason=reason)
