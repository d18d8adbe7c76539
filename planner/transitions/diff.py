"""From what runs to what is desired: the list of actions that plan prints and apply executes.

Replicas that fit beside everything that runs start first. Then, in rounds: the router leaves those that can be spared, they drain and stop,
GPUs change their MIG layout, and what has room by now starts. Where none can be spared, one of a model stops and its successor starts
before the next one. Where that leaves a model without what it must have, all orders are looked through, and the one that clients notice
least is taken (planner/ordering). The final routes are set last; on the way a model of the plan without a ready replica stays known to
the router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from planner.ordering.disturbance import disturbance
from planner.ordering.order_search import Wave
from planner.ordering.searched import searched_waves
from planner.plan import Action, Desired, Drain, Replica, Route, SetRoutes, Sleep, Start, State, Stop, Wake
from planner.transitions.outages import least_ready, outages
from planner.transitions.repairs import NO_REPAIRS, Repairs
from planner.transitions.transition import Transition, layouts_to_change

_Why = Callable[[Replica], str]


def diff(state: State, desired: Desired, repairs: Repairs = NO_REPAIRS) -> tuple[Action, ...]:
    """Actions that turn a state into the desired world; empty when nothing differs and nothing is to be repaired."""
    leading = _Leading(state, desired, _with_sleepers(state, desired, repairs))
    actions = leading.by(_greedy)
    # one that starts to sleep comes and goes, which no order that is searched has a place for
    told = () if leading.world().starts_to_sleep() else outages(state, desired, actions)
    if not told:
        return actions
    weighed = disturbance(state, desired, actions)
    hurt = frozenset(outage.served_name for outage in told)
    waves = searched_waves(leading.world(), least_ready(state, desired), hurt, lambda held: _greedy_waves(leading.world(), held), weighed)
    if waves is None:
        return actions
    searched = leading.by(lambda _: iter(waves))
    return searched if disturbance(state, desired, searched) < weighed else actions


def greedy_diff(state: State, desired: Desired, repairs: Repairs = NO_REPAIRS) -> tuple[Action, ...]:
    """The same without a search: what can be spared leaves first, then one of a model at a time."""
    return _Leading(state, desired, _with_sleepers(state, desired, repairs)).by(_greedy)


def _greedy(world: Transition) -> Iterator[Wave]:
    """Waves as the world is when they are asked for."""
    yield Wave((), None)
    while world.going or world.coming:
        yield Wave(tuple(replica.name for replica in world.unneeded() or world.forced()), None)


class _Leading:
    """How waves become actions."""

    def __init__(self, state: State, desired: Desired, repairs: Repairs) -> None:
        self._state = state
        self._desired = desired
        self._repairs = repairs
        self._before = {replica.name for replica in state.replicas}
        self._why = _why_going(desired, repairs)

    def world(self) -> Transition:
        """What runs once those are gone that serve nobody."""
        world = self._all()
        world.stop(self._useless(world))
        return world

    def _all(self) -> Transition:
        return Transition(self._state, self._desired, layouts_to_change(self._state, self._desired), self._repairs.names)

    def _useless(self, world: Transition) -> list[Replica]:
        return [replica for replica in world.going if replica.name in self._repairs.useless]

    def by(self, waves: Callable[[Transition], Iterator[Wave]]) -> tuple[Action, ...]:
        """The actions of waves, which are asked for one by one."""
        state, desired, world = self._state, self._desired, self._all()
        routes = state.routes
        # whoever waits for them waits in vain: they make room before anything else happens
        useless = self._useless(world)
        actions = _leave(world, useless, routes, self._why)
        routes = world.routes(useless) if useless else routes
        world.stop(useless)
        unready = world.routes()
        coming = waves(world)
        first = self._started(world, next(coming), anyhow=False)
        if first and routes and {route.served_name for route in unready} != {route.served_name for route in routes}:
            routes = unready
            actions.append(SetRoutes(routes=routes, reason="name the models that start: 503 until one is ready"))
        actions += first
        for wave in coming:
            going = {replica.name: replica for replica in world.going}
            leaving = [going[name] for name in wave.leaving]
            without = world.routes(leaving)
            if not leaving and wave.starting and without != routes:
                actions.append(SetRoutes(routes=without, reason="let in replicas that are ready"))
            actions += _leave(world, leaving, routes, self._why)
            routes = without
            world.stop(leaving)
            # when nothing is left to stop there is room for all, or the plan is wrong, which is the checker's to say
            actions += self._started(world, wave, anyhow=True)
        actions += world.repartition()
        if routes != desired.routes or state.router != desired.router:
            actions.append(SetRoutes(routes=desired.routes, reason="route to the desired replicas"))
        return tuple(actions)

    def _started(self, world: Transition, wave: Wave, *, anyhow: bool) -> list[Action]:
        """Layouts that can change, then starts."""
        changed = world.repartition()
        asleep = {replica.name for replica in world.coming if world.wakes(replica)}
        started = world.start() if wave.starting is None else world.begin(wave.starting)
        # one that is to sleep makes room when it does
        started += world.start(anyhow=True) if wave.starting is None and anyhow and not world.going else []
        return [*changed, *(_wake(replica) if replica.name in asleep else _start(replica, self._before) for replica in started)]


def _greedy_waves(world: Transition, names: frozenset[str]) -> list[Wave]:
    """What the greedy does to those alone, by name."""
    world.limit_to(names)
    done: list[Wave] = []
    for number, wave in enumerate(_greedy(world)):
        leaving = [replica for replica in world.going if replica.name in wave.leaving]
        world.stop(leaving)
        world.repartition()
        started = world.start()
        started += world.start(anyhow=True) if number and not world.going else []
        done.append(Wave(wave.leaving, tuple(replica.name for replica in started)))
    return done


def _with_sleepers(state: State, desired: Desired, repairs: Repairs) -> Repairs:
    """Those that are to sleep at another level start again, which needs no room but their own."""
    wanted = {item.name: item.level for item in desired.asleep}
    others = [item.name for item in state.asleep if wanted.get(item.name, item.level) != item.level]
    return replace(repairs, useless={**dict.fromkeys(others, "is to sleep at another level"), **repairs.useless}) if others else repairs


def _leave(world: Transition, leaving: Sequence[Replica], routes: tuple[Route, ...], why: _Why) -> list[Action]:
    """Out of the routes, drained, stopped."""
    actions: list[Action] = []
    without = world.routes(leaving)
    if leaving and without != routes:
        actions.append(SetRoutes(routes=without, reason="take replicas that go out of the router, let in those that are ready"))
    for replica in leaving:
        actions.append(Drain(replica=replica.name, reason="is to sleep" if world.level_of(replica) else why(replica)))
    # stops together: they take as long as one, sleeps go one by one
    levels = {replica.name: world.level_of(replica) for replica in leaving}
    actions += [Stop(replica=replica.name, reason=why(replica)) for replica in leaving if levels[replica.name] is None]
    actions += [Sleep(replica=name, level=level, reason="is to sleep") for name, level in levels.items() if level is not None]
    return actions


def _why_going(desired: Desired, repairs: Repairs) -> _Why:
    after = {replica.name: replica.served_name for replica in desired.replicas}

    def why(replica: Replica) -> str:
        known = repairs.useless.get(replica.name) or repairs.outdated.get(replica.name)
        if known is not None:
            return known
        if replica.name in after:
            return "replaced by other engine arguments"
        return f"other replicas are to serve {replica.served_name}" if replica.served_name in after.values() else "not in the plan"

    return why


def _wake(replica: Replica) -> Wake:
    return Wake(replica=replica.name, reason=f"{replica.planned_rps:.3g} requests/s of {replica.served_name}")


def _start(replica: Replica, before: set[str]) -> Start:
    reason = (
        "replaces the replica of this name" if replica.name in before else f"{replica.planned_rps:.3g} requests/s of {replica.served_name}"
    )
    return Start(replica=replica.name, node=replica.node, gpus=replica.gpus, reason=reason)
