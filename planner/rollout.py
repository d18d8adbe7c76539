"""Changed replicas are tried with a small part of the requests before they get their full part, and taken back when they do worse."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from planner.plan.routing.route_parts import Route, RouteBackend
from planner.routes import largest_remainder, total_weight
from planner.simulation.traffic_metrics import wilson_interval

# Below so many requests nobody is judged: chance alone would decide.
FEWEST_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """Requests of a stretch of time, and how many of them kept their goals."""

    requests: int
    kept: int


def canary_routes(before: tuple[Route, ...], after: tuple[Route, ...], newcomers: Set[str], fraction: float) -> tuple[Route, ...]:
    """Routes in which newcomers (replicas) share a fraction of a model's requests, and those of before the rest.

    A model that had no backends before, or gets no newcomer, has the routes of after.
    """
    old = {route.served_name: route.backends for route in before}

    def tried(route: Route) -> Route:
        new = [backend for backend in route.backends if backend.replica in newcomers]
        others = [backend for backend in old.get(route.served_name, ()) if backend.replica not in newcomers]
        if not new or not others:
            return route
        return route.model_copy(update={"backends": _shared(new, others, fraction)})

    return tuple(tried(route) for route in after)


def _shared(new: list[RouteBackend], others: list[RouteBackend], fraction: float) -> tuple[RouteBackend, ...]:
    joined = [*new, *others]
    parts = [fraction * backend.weight / sum(item.weight for item in new) for backend in new]
    parts += [(1 - fraction) * backend.weight / sum(item.weight for item in others) for backend in others]
    weights = largest_remainder([max(part, 1e-9) for part in parts], total_weight(len(joined)))
    shared = [backend.model_copy(update={"weight": weight}) for backend, weight in zip(joined, weights, strict=True)]
    return tuple(sorted(shared, key=lambda backend: backend.replica))


def regression(newcomer: Kept, others: Kept, goal_fraction: float) -> str | None:
    """Why a newcomer does worse than it may, beyond chance (95 %, Wilson): it misses its goal, and keeps less than the others that serve.

    >>> regression(Kept(100, 80), Kept(900, 895), 0.99)
    '80 of 100 requests kept their goals, at least 99 % should; of the others 895 of 900 did'
    >>> regression(Kept(100, 80), Kept(900, 700), 0.99) is None
    True
    """
    if newcomer.requests < FEWEST_REQUESTS:
        return None
    highest = wilson_interval(newcomer.kept, newcomer.requests)[1]
    said = f"{newcomer.kept} of {newcomer.requests} requests kept their goals, at least {goal_fraction * 100:.3g} % should"
    if highest >= goal_fraction:
        return None
    if others.requests < FEWEST_REQUESTS:
        return said
    lowest = wilson_interval(others.kept, others.requests)[0]
    return f"{said}; of the others {others.kept} of {others.requests} did" if highest < lowest else None
