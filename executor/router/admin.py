"""What Envoy says about itself on its admin interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from planner.plan import WORKLOAD_HEADER, Route
from renderers.envoy import NOBODY_REFUSED

Endpoint = tuple[str, int]

_LIMIT = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """Clusters with weight and health per endpoint, the clusters that routes name, those that take bodies below a size in bytes, and
    the workloads that are refused, each with the served name.
    """

    clusters: dict[str, dict[Endpoint, tuple[int, bool]]]
    routed: frozenset[str]
    below_bytes: frozenset[tuple[str, int]] = frozenset()
    refused: frozenset[tuple[str, str]] = frozenset()

    def lacks(self, routes: tuple[Route, ...], refused: Mapping[str, Sequence[str]] = NOBODY_REFUSED) -> str | None:
        """The first difference to these routes, and workloads refused by served name; None when Envoy has taken them completely."""
        wanted = {route.served_name: _endpoints(route) for route in routes}
        if self.routed != wanted.keys():
            return f"it routes {_names(self.routed)}, not {_names(wanted)}"
        below = {(route.served_name, route.longer.over_bytes + 1) for route in routes if route.longer is not None}
        if self.below_bytes != below:
            return f"it tells lengths apart at {sorted(self.below_bytes)}, not at {sorted(below)}"
        refuses = {(name, workload) for name, workloads in refused.items() if name in wanted for workload in workloads}
        if self.refused != refuses:
            return f"it refuses {sorted(self.refused)}, not {sorted(refuses)}"
        for name, endpoints in sorted(wanted.items()):
            weights = {place: weight for place, (weight, _) in self.clusters.get(name, {}).items()}
            if weights != endpoints:
                return f"endpoints of {name} are {weights}, not {endpoints}"
        return None

    def sick(self, routes: tuple[Route, ...]) -> tuple[str, ...]:
        """Replicas of these routes that Envoy's health checks have not passed."""
        found = []
        for route in routes:
            for backend in route.backends:
                seen = self.clusters.get(route.served_name, {}).get((backend.host, backend.port))
                if not (seen is not None and seen[1]):
                    found.append(backend.replica)
        return tuple(sorted(found))


async def live(session: aiohttp.ClientSession, host: str, port: int) -> bool:
    """Envoy has started and is serving."""
    try:
        async with session.get(f"http://{host}:{port}/ready", timeout=_LIMIT) as answer:
            return answer.status == 200
    except (TimeoutError, aiohttp.ClientError, ConnectionError):
        return False


async def look(session: aiohttp.ClientSession, host: str, port: int) -> Seen | None:
    """What Envoy uses now; None when it does not answer."""
    base = f"http://{host}:{port}"
    try:
        async with session.get(f"{base}/clusters?format=json", timeout=_LIMIT) as answer:
            clusters = await answer.json(content_type=None)
        async with session.get(f"{base}/config_dump?resource=dynamic_route_configs", timeout=_LIMIT) as answer:
            dump = await answer.json(content_type=None)
    except (TimeoutError, aiohttp.ClientError, ConnectionError, ValueError):
        return None
    named = {str(cluster["name"]): dict(map(_host, cluster.get("host_statuses", ()))) for cluster in clusters.get("cluster_statuses", ())}
    return Seen(named, frozenset(_clusters(dump)), frozenset(_limits(dump)), frozenset(_refused(dump)))


def _host(status: dict[str, Any]) -> tuple[Endpoint, tuple[int, bool]]:
    address = status["address"]["socket_address"]
    health = status.get("health_status", {})
    healthy = not any(value for key, value in health.items() if key.startswith(("failed_", "pending_")))
    return (str(address["address"]), int(address["port_value"])), (int(status.get("weight", 1)), healthy)


def _clusters(value: object) -> Iterator[str]:
    """Every `cluster` of a route configuration, wherever it stands."""
    match value:
        case dict():
            if isinstance(value.get("cluster"), str):
                yield value["cluster"]
            for inner in value.values():
                yield from _clusters(inner)
        case list():
            for inner in value:
                yield from _clusters(inner)


def _limits(value: object) -> Iterator[tuple[str, int]]:
    """Every route of a route configuration that a length of bodies has to match: its cluster, and the end of the range."""
    match value:
        case {"match": {"headers": [{"range_match": {"end": end}}]}, "route": {"cluster": str(cluster)}}:
            yield cluster, int(str(end))
        case dict():
            for inner in value.values():
                yield from _limits(inner)
        case list():
            for inner in value:
                yield from _limits(inner)


def _refused(value: object) -> Iterator[tuple[str, str]]:
    """Every route of a route configuration that answers itself for a model and a workload."""
    match value:
        case {
            "match": {
                "headers": [{"name": header, "string_match": {"exact": str(workload)}}],
                "dynamic_metadata": [{"value": {"string_match": {"exact": str(name)}}}],
            },
            "direct_response": _,
        } if header == WORKLOAD_HEADER:
            yield name, workload
        case dict():
            for inner in value.values():
                yield from _refused(inner)
        case list():
            for inner in value:
                yield from _refused(inner)


def _endpoints(route: Route) -> dict[Endpoint, int]:
    return {(backend.host, backend.port): backend.weight for backend in route.backends}


def _names(names: object) -> str:
    listed = ", ".join(sorted(map(str, names))) if isinstance(names, (frozenset, dict)) else str(names)
    return listed or "no model"
