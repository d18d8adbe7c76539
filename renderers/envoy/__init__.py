"""Envoy by files: one cluster per served model, weighted endpoints, routing on the model named in a request's JSON body.

Envoy runs with the folder as its working directory, since every path in the files is relative to it (`command`).
Files of a switch must be renamed into place in the manifest's order: endpoints, clusters, listener, routes; then a route
never names a cluster that Envoy has not heard of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType

from planner.plan import WORKLOAD_HEADER, Plan, Route, RouteBackend, RouterPlan
from renderers.envoy.direct_responses import REFUSALS, TOO_LARGE, UNAVAILABLE
from renderers.manifest import File, Manifest, RenderError
from renderers.names import file_name
from renderers.needs import HOSTS_ARE_IP_ADDRESSES
from renderers.openai_answers import BODY_LIMIT_BYTES, RETRY_AFTER_S, models_answer
from renderers.render_target import RenderTarget, TargetSettings
from renderers.route_problems import names_that_stand_twice
from renderers.templates import package_text, template

NOBODY_REFUSED: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Cluster:
    name: str
    path: str


def render(plan: Plan, _: TargetSettings | None = None) -> Manifest:
    """Router configuration of a plan; raises RenderError for addresses that Envoy cannot use."""
    return render_routes(plan.desired.routes, plan.desired.router)


def render_routes(routes: tuple[Route, ...], router: RouterPlan, refused: Mapping[str, Sequence[str]] = NOBODY_REFUSED) -> Manifest:
    """Router configuration for these routes, in the order the files must be written.

    refused holds, by served name, the workloads whose requests for it get a 503; a header names a request's workload.

    Paths: `eds/MODEL.yaml` per served name, `cds.yaml`, `lds.yaml`, `rds.yaml`, `envoy.yaml` (bootstrap), `start.sh`.
    """
    _check_routes(routes)
    routes = tuple(sorted(routes, key=lambda route: route.served_name))
    names = tuple(route.served_name for route in routes)
    clusters = tuple(_Cluster(name, f"eds/{file_name(name)}.yaml") for name in names)
    models = models_answer(names)
    answers = [models, *(refusal.body for refusal in REFUSALS)]
    return (
        *(File(cluster.path, _endpoints(route)) for cluster, route in zip(clusters, routes, strict=True)),
        File("cds.yaml", template("envoy", "cds.yaml.j2").render(clusters=clusters)),
        File("lds.yaml", _listener(router)),
        File(
            "rds.yaml",
            template("envoy", "rds.yaml.j2").render(
                routes=routes,
                refused=refused,
                workload_header=WORKLOAD_HEADER,
                models=models,
                refusals=REFUSALS,
                largest_answer_bytes=max(len(body.encode()) for body in answers),
            ),
        ),
        File("envoy.yaml", template("envoy", "envoy.yaml.j2").render(router=router)),
        File("start.sh", template("envoy", "start.sh.j2").render(command=command()), executable=True),
    )


def command() -> tuple[str, ...]:
    """Arguments that run Envoy on a rendered folder, to be started with that folder as working directory."""
    return ("envoy", "-c", "envoy.yaml", "--disable-hot-restart", "--log-level", "warning")


def _listener(router: RouterPlan) -> str:
    return template("envoy", "lds.yaml.j2").render(
        router=router,
        body_limit_bytes=BODY_LIMIT_BYTES,
        priorities_lua=package_text("envoy/priorities.lua").replace("WORKLOAD_HEADER", WORKLOAD_HEADER).rstrip(),
        too_large=json.dumps(TOO_LARGE),
        unavailable=json.dumps(UNAVAILABLE),
        retry_after_s=RETRY_AFTER_S,
    )


def _endpoints(route: Route) -> str:
    return template("envoy", "eds.yaml.j2").render(route=route)


def _check_routes(routes: tuple[Route, ...]) -> None:
    problems = list(names_that_stand_twice(routes))
    problems += [problem for route in routes for backend in route.backends if (problem := _backend_problem(route.served_name, backend))]
    if problems:
        raise RenderError("\n".join(problems))


def _backend_problem(served_name: str, backend: RouteBackend) -> str | None:
    where = f"route {served_name!r}, backend {backend.replica!r}"
    if not _is_address(backend.host):
        return f"{where}: host {backend.host!r} is no IP address, which Envoy's endpoints must be; give the pool's hosts as IP addresses"
    return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


TARGET = RenderTarget(render, needs=(HOSTS_ARE_IP_ADDRESSES,), is_router=True)
