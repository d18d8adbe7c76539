"""How far the actions of a plan may be done now, by its disruption budget."""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import datetime
from typing import NamedTuple

from planner.plan import Drain, Plan, SetRoutes, Start, State, Stop
from planner.routes import routes_for


class Allowed(NamedTuple):
    """So many of the actions, from the first; why not all (empty: all of them)."""

    actions: int
    reasons: tuple[str, ...] = ()


def allowed_now(plan: Plan, state: State, useless: Set[str], down: int, moment: datetime) -> Allowed:
    """The leading actions that stop nobody whom the budget protects now.

    state is what the actions begin with. useless replicas serve nobody, so that their end is no disruption; down is how many of the
    plan's replicas do not run and will not be started by these actions.
    """
    served = {replica.name: replica.args.names for replica in state.replicas}
    # nobody asks a sleeper, and copies go when others have come
    useless = {*useless, *(item.name for item in state.asleep), *(item.name for item in plan.temporary)}
    for number, action in enumerate(plan.actions):
        if not isinstance(action, (Drain, Stop)) or action.replica in useless:
            continue
        reasons = tuple(_reasons(plan, action.replica, served.get(action.replica, ()), down, moment))
        if reasons:
            return Allowed(_before_round(plan, number), reasons)
    return Allowed(len(plan.actions))


def actions_now(plan: Plan, allowed: Allowed) -> int | None:
    """How many of the allowed actions to do before looking at the world again; None where a copy would have to wait half way.

    A maintenance window may close while a batch of copies is under way, so that there the next batch looks at the time again.
    """
    ends = _ends_of_copies(plan)
    whole = [number for number in ends if number <= allowed.actions]
    if ends and not whole:
        return None
    windows = plan.desired.rules.disruption_budget.windows_s
    return (whole[0] if windows else whole[-1]) if whole else allowed.actions


def _ends_of_copies(plan: Plan) -> list[int]:
    """Numbers of leading actions after which all copies that have come are gone again; the last is all of them. Empty without copies."""
    copies = {item.name for item in plan.temporary}
    running: set[str] = set()
    found: list[int] = []
    for number, action in enumerate(plan.actions, 1):
        if isinstance(action, Start) and action.replica in copies:
            running.add(action.replica)
        elif isinstance(action, Stop) and action.replica in running:
            running.remove(action.replica)
            found += [] if running else [number]
    if found and all(isinstance(action, SetRoutes) for action in plan.actions[found[-1] :]):
        # the final routes belong to what is before them
        found.pop()
    return [*found, len(plan.actions)] if copies else []


def cut_short(plan: Plan, state: State, count: int) -> Plan:
    """The first actions of a plan, and then routes to all that is ready: what may not be stopped yet serves beside what is new."""
    actions = list(plan.actions[:count])
    wanted = {replica.name: replica for replica in plan.started}
    running = {replica.name: replica for replica in state.replicas}
    asleep = {item.name for item in state.asleep}
    routes = state.routes
    for action in actions:
        if isinstance(action, Stop):
            running.pop(action.replica, None)
        elif isinstance(action, Start):
            running[action.replica] = wanted[action.replica]
            asleep.discard(action.replica)
        elif isinstance(action, SetRoutes):
            routes = action.routes
    awake = [replica for name, replica in sorted(running.items()) if name not in asleep]
    ready = routes_for(awake, [route.served_name for route in plan.desired.routes])
    if ready != routes or state.router is None:
        actions.append(SetRoutes(routes=ready, reason="let in what is ready; the rest of the plan waits"))
    begun = {action.replica for action in actions if isinstance(action, Start)}
    return plan.model_copy(update={"actions": tuple(actions), "temporary": tuple(item for item in plan.temporary if item.name in begun)})


def _reasons(plan: Plan, replica: str, names: tuple[str, ...], down: int, moment: datetime) -> Iterator[str]:
    budget = plan.desired.rules.disruption_budget
    if not budget.is_open(moment):
        yield f"replica {replica} may be stopped in a maintenance window only; the next one opens {budget.opens(moment)}"
    for name in sorted(set(names) & set(budget.protected)):
        yield f"replica {replica} serves {name}, which is protected by policy.disruption_budget"
    fewest = {outage.served_name: outage.fewest_replicas for outage in plan.outages}
    for name in names:
        least = budget.min_available.get(name, 0)
        if fewest.get(name, least) < least:
            yield f"replica {replica}: {name} would have {fewest[name]} ready replicas, and policy.disruption_budget asks for {least}"
    if budget.max_concurrent is not None and down >= budget.max_concurrent:
        yield f"replica {replica} waits: {down} replicas are down already, of {budget.max_concurrent} that may be at once"


def _before_round(plan: Plan, number: int) -> int:
    """The place before the replicas that go together with this one leave the routes."""
    while number and isinstance(plan.actions[number - 1], Drain):
        number -= 1
    return number - 1 if number and isinstance(plan.actions[number - 1], SetRoutes) else number
