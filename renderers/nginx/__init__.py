"""nginx with njs: one upstream per served model, weighted servers, routing on the model named in a request's JSON body.

nginx runs with the folder as its prefix and working directory, since every path in the files is relative to it (`command`). Every
change is a reload.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from planner.plan import Plan, Route, RouterPlan
from renderers.manifest import File, Manifest
from renderers.needs import NOBODY_APART
from renderers.openai_answers import (
    BODY_LIMIT_BYTES,
    BODY_TOO_LARGE,
    MODEL_MISSING,
    NO_ENGINE,
    NO_JSON_BODY,
    REQUEST_TOO_SLOW,
    RETRY_AFTER_S,
    UNKNOWN_MODEL,
    UNKNOWN_PATH,
    UNREADABLE_BODY,
    UNREADABLE_REQUEST,
    models_answer,
)
from renderers.render_target import RenderTarget, TargetSettings
from renderers.route_problems import socket_text, sorted_routes
from renderers.templates import template

# Measured with nginx 1.31: 64 KiB hold 50 servers and not 100. Our choice: four times that, for names with several addresses.
_ZONE_KIB = 64
_ZONE_KIB_PER_SERVER = 4

_REFUSALS = {
    "UNKNOWN_MODEL": UNKNOWN_MODEL,
    "MODEL_MISSING": MODEL_MISSING,
    "UNREADABLE_BODY": UNREADABLE_BODY,
    "NO_JSON_BODY": NO_JSON_BODY,
    "UNKNOWN_PATH": UNKNOWN_PATH,
    "NO_ENGINE": NO_ENGINE,
}
# What nginx answers of its own accord.
_OWN_ERRORS = {
    "bad_request": UNREADABLE_REQUEST,
    "unknown_path": UNKNOWN_PATH,
    "too_slow": REQUEST_TOO_SLOW,
    "too_large": BODY_TOO_LARGE,
    "no_engine": NO_ENGINE,
}


@dataclass(frozen=True, slots=True)
class _Server:
    replica: str
    socket: str
    weight: int


@dataclass(frozen=True, slots=True)
class _Upstream:
    served_name: str
    name: str
    zone_kib: int
    servers: tuple[_Server, ...]


def render(plan: Plan, _: TargetSettings | None = None) -> Manifest:
    """Router configuration of a plan; raises RenderError for hosts that are neither addresses nor names."""
    return render_routes(plan.desired.routes, plan.desired.router)


def render_routes(routes: tuple[Route, ...], router: RouterPlan) -> Manifest:
    """Router configuration for these routes. Paths: `routes.js`, `nginx.conf`, `start.sh`."""
    routes = sorted_routes(routes)
    upstreams = tuple(_upstreams(routes))
    names = {upstream.served_name: upstream.name for upstream in upstreams}
    script = template("nginx", "routes.js.j2").render(
        table=[{"key": _script_text(f":{route.served_name}"), "name": names.get(route.served_name, "")} for route in routes],
        longer=[
            {
                "key": _script_text(f":{route.served_name}"),
                "bytes": route.longer.over_bytes,
                "name": names.get(route.longer.served_name, ""),
            }
            for route in routes
            if route.longer is not None
        ],
        models=_script_text(models_answer(tuple(route.served_name for route in routes))),
        refusals=[(name, refusal.body) for name, refusal in _REFUSALS.items()],
        retry_after_s=RETRY_AFTER_S,
    )
    config = template("nginx", "nginx.conf.j2").render(
        upstreams=upstreams,
        listen=socket_text(router.host, router.port),
        own_errors=list(_OWN_ERRORS.items()),
        retry_after_s=RETRY_AFTER_S,
        body_limit_bytes=BODY_LIMIT_BYTES,
    )
    start = template("nginx", "start.sh.j2").render(command=command())
    return (File("routes.js", script), File("nginx.conf", config), File("start.sh", start, executable=True))


def command() -> tuple[str, ...]:
    """Arguments that run nginx on a rendered folder, to be started with that folder as working directory."""
    return ("nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf")


def _upstreams(routes: tuple[Route, ...]) -> Iterator[_Upstream]:
    for route in routes:
        if route.backends:
            # nginx compares names of upstreams without regard to case, and models are two where only the case differs.
            name = f"model_{hashlib.sha256(route.served_name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
            servers = tuple(_Server(item.replica, socket_text(item.host, item.port), item.weight) for item in route.backends)
            yield _Upstream(route.served_name, name, _ZONE_KIB + _ZONE_KIB_PER_SERVER * len(servers), servers)


def _script_text(text: str) -> str:
    """A text as a string of JavaScript: that of JSON in ASCII."""
    return json.dumps(text)


TARGET = RenderTarget(render, needs=(NOBODY_APART,), is_router=True)
