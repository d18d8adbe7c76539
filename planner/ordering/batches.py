"""A change with copies, all at once or a batch of models after another: each batch has the GPUs on which the copies before it were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

from planner.ordering.copies import copies, to_copy
from planner.plan import Action, Desired, Outage, Replica, SetRoutes, Start, State, state_of
from planner.routes import routes_for
from planner.transitions.diff import diff
from planner.transitions.repairs import Repairs
from planner.transitions.transition import Transition, address_of, layouts_to_change, seats_of

# Our choice: each sets the routes of all models some times. With 200 models the plan is planned in seconds and its file has a few MB.
MOST_BATCHES = 32
_MEANWHILE = "serves while others make room for each other, and stops at the end"


class ChangeWithCopies(NamedTuple):
    """The actions of a change, and the copies that they start and stop."""

    actions: tuple[Action, ...]
    temporary: tuple[Replica, ...]


def ways_with_copies(state: State, desired: Desired, repairs: Repairs, told: Sequence[Outage]) -> Iterator[ChangeWithCopies]:
    """All that changes at once, with copies as far as free GPUs last; and in batches, where that makes copies of more."""
    found = copies(state, desired, told)
    if not found:
        return
    yield ChangeWithCopies(_with(found, state, desired, repairs), found)
    waiting = _able_to_wait(state, desired, repairs, _without(_named(told), found))
    if waiting:
        yield _in_batches(state, desired, repairs, told)


def _in_batches(state: State, desired: Desired, repairs: Repairs, told: Sequence[Outage]) -> ChangeWithCopies:
    """First all that nobody misses and the names that a copy was found for, then the next such names; last those without a copy.

    A batch leaves the names that wait as they are. Where they are in the way they change with it, without a copy.
    """
    here, left, waiting = state, repairs, _named(told)
    actions: list[Action] = []
    temporary: list[Replica] = []
    for number in range(MOST_BATCHES):
        last = number == MOST_BATCHES - 1
        found = () if last else copies(here, desired, [outage for outage in told if outage.served_name in waiting])
        waiting = _able_to_wait(here, desired, left, _without(waiting, found)) if found else frozenset()
        world, now, left = _partly(here, desired, left, waiting)
        actions += _with(found, here, world, now)
        temporary += found
        if not waiting:
            break
        here = state_of(world, state.serial)
    return ChangeWithCopies(tuple(actions), tuple(temporary))


def _named(told: Sequence[Outage]) -> frozenset[str]:
    return frozenset(outage.served_name for outage in told)


def _without(names: frozenset[str], found: Sequence[Replica]) -> frozenset[str]:
    return names - {name for copy in found for name in copy.args.names}


def _with(found: Sequence[Replica], state: State, desired: Desired, repairs: Repairs) -> tuple[Action, ...]:
    """To a world with copies, and from there to the desired one without them."""
    if not found:
        return diff(state, desired, repairs)
    between = _routed(desired, (*desired.replicas, *found))
    there = [_told(action, found) for action in diff(state, between, repairs)]
    # whom the last routes of the first part let in, the first of the second do, too
    there = there[:-1] if isinstance(there[-1], SetRoutes) else there
    return (*there, *diff(state_of(between, state.serial), desired))


def _told(action: Action, found: Sequence[Replica]) -> Action:
    if isinstance(action, Start) and action.replica in {replica.name for replica in found}:
        return action.model_copy(update={"reason": _MEANWHILE})
    return action


def _routed(desired: Desired, replicas: Sequence[Replica]) -> Desired:
    """The world with these replicas, and routes to all of them that are awake."""
    asleep = {item.name for item in desired.asleep}
    ordered = tuple(sorted(replicas, key=lambda replica: replica.name))
    routes = routes_for([replica for replica in ordered if replica.name not in asleep], [route.served_name for route in desired.routes])
    return desired.model_copy(update={"replicas": ordered, "routes": routes})


def _able_to_wait(state: State, desired: Desired, repairs: Repairs, names: frozenset[str]) -> frozenset[str]:
    """The names that may stay as they are while all others change: those whose replicas nobody waits for."""
    cut = {(item.node, item.gpu) for item in layouts_to_change(state, desired)}
    names &= to_copy(state, desired).keys()
    while names:
        held = _held(state, repairs, names)
        changing = {replica.name for replica in desired.replicas if not names & set(replica.args.names)}
        world, now, _ = _partly(state, desired, repairs, names)
        way = Transition(state, world, layouts_to_change(state, world), now.names)
        way.stop(way.going)
        way.repartition()
        way.start()
        addresses = {address_of(replica) for replica in way.coming}
        seats = cut | {seat for replica in way.coming for seat in seats_of(replica)}
        awaited = [
            replica for replica in held if replica.name in changing or address_of(replica) in addresses or seats & set(seats_of(replica))
        ]
        if not awaited:
            break
        names -= {name for replica in awaited for name in replica.args.names}
    return names


def _held(state: State, repairs: Repairs, names: Set[str]) -> list[Replica]:
    return [replica for replica in state.replicas if names & set(replica.args.names) and replica.name not in repairs.useless]


def _partly(state: State, desired: Desired, repairs: Repairs, waiting: Set[str]) -> tuple[Desired, Repairs, Repairs]:
    """The desired world in which some names are still served as they are now; what is repaired on the way to it, and what later."""
    if not waiting:
        return desired, repairs, Repairs()
    held = _held(state, repairs, waiting)
    names = {replica.name for replica in held}
    others = [replica for replica in desired.replicas if not waiting & set(replica.args.names)]
    asleep = [item for item in state.asleep if item.name in names]
    asleep += [item for item in desired.asleep if item.name in {replica.name for replica in others}]
    world = desired.model_copy(update={"asleep": tuple(sorted(asleep, key=lambda item: item.name))})
    later = {name: why for name, why in repairs.outdated.items() if name in names}
    now = replace(repairs, outdated={name: why for name, why in repairs.outdated.items() if name not in names})
    return _routed(world, (*held, *others)), now, Repairs(outdated=later)
