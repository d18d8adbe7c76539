"""HAProxy: one backend per served model, weighted servers, routing on the model named in a request's JSON body.

HAProxy runs with the folder as its working directory, since every path in the files is relative to it (`command`). Weights change
through its runtime API (`set-weights.sh`), everything else by a reload.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import Field

from planner.plan import Plan, Route, RouterPlan
from renderers.haproxy.small_weights import small_weights
from renderers.manifest import File, Manifest
from renderers.names import file_name
from renderers.needs import NOBODY_APART
from renderers.openai_answers import (
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
from renderers.templates import package_text, template

# What a buffer holds beside a body: headers, and HAProxy's own records of the parts.
_BUFFER_REST_BYTES = 64 * 1024

# JSON on one line for each request.
_LOG_FORMAT = (
    '{"start":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","method":"%HM","path":"%[capture.req.uri,json(utf8s)]",'
    '"model":"%[var(txn.model),json(utf8s)]","status":%ST,"state":"%tsc","backend":"%b","server":"%s","retries":"%rc",'
    '"first_byte_ms":%Tr,"duration_ms":%Ta,"bytes_received":%U,"bytes_sent":%B}'
)

_ANSWERS = {
    "unknown-model": UNKNOWN_MODEL,
    "model-missing": MODEL_MISSING,
    "unreadable-body": UNREADABLE_BODY,
    "no-json-body": NO_JSON_BODY,
    "unknown-path": UNKNOWN_PATH,
    "too-large": BODY_TOO_LARGE,
}
# What HAProxy answers of its own accord.
_OWN_ERRORS = (
    UNREADABLE_REQUEST,
    REQUEST_TOO_SLOW,
    *(replace(NO_ENGINE, status=status) for status in (500, 502, 503, 504)),
)


class HaproxySettings(TargetSettings):
    """HAProxy copies a buffer as large as the largest body for each request and keeps it until the first byte of the answer.

    Our choice: a MiB holds a prompt of 250,000 tokens; conversations with images need more.
    """

    largest_body_mib: int = Field(default=1, ge=1, le=64)


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    socket: str
    weight: int
    # backend/server whose health check is also this one's
    tracked: str | None


@dataclass(frozen=True, slots=True)
class _Backend:
    served_name: str
    name: str
    key: str
    servers: tuple[_Server, ...]
    # the backend of its longer requests, and how many bytes shorter ones have at most
    longer: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class _OwnError:
    status: int
    path: str
    later: bool


def render(plan: Plan, settings: HaproxySettings | None = None) -> Manifest:
    """Router configuration of a plan; raises RenderError for hosts that are neither addresses nor names."""
    return render_routes(plan.desired.routes, plan.desired.router, settings or HaproxySettings())


def render_routes(routes: tuple[Route, ...], router: RouterPlan, settings: HaproxySettings) -> Manifest:
    """Router configuration for these routes.

    Paths: `answers/*.json`, `models.map`, `weights.txt`, `read-model.lua`, `haproxy.cfg`, `start.sh`, `set-weights.sh`.
    """
    routes = sorted_routes(routes)
    backends = tuple(_backends(routes))
    errors = tuple(_OwnError(item.status, f"answers/{item.status}.json", item.status >= 500) for item in _OWN_ERRORS)
    body_limit_bytes = settings.largest_body_mib * 1024**2
    config = template("haproxy", "haproxy.cfg.j2").render(
        backends=backends,
        bind=socket_text(router.host, router.port),
        own_errors=errors,
        retry_after_s=RETRY_AFTER_S,
        body_limit_bytes=body_limit_bytes,
        buffer_bytes=body_limit_bytes + _BUFFER_REST_BYTES,
        log_format=_LOG_FORMAT,
    )
    return (
        File("answers/models.json", models_answer(tuple(route.served_name for route in routes)) + "\n"),
        *(File(f"answers/{name}.json", refusal.body + "\n") for name, refusal in _ANSWERS.items()),
        *(File(error.path, refusal.body + "\n") for error, refusal in zip(errors, _OWN_ERRORS, strict=True)),
        File("models.map", template("haproxy", "models.map.j2").render(backends=backends)),
        File("weights.txt", _weights(backends)),
        File("read-model.lua", package_text("haproxy/read-model.lua")),
        File("haproxy.cfg", config),
        File("start.sh", template("haproxy", "start.sh.j2").render(command=command()), executable=True),
        File("set-weights.sh", package_text("haproxy/set-weights.sh"), executable=True),
    )


def command() -> tuple[str, ...]:
    """Arguments that run HAProxy on a rendered folder, to be started with that folder as working directory."""
    return ("haproxy", "-W", "-p", "haproxy.pid", "-f", "haproxy.cfg")


def _backends(routes: tuple[Route, ...]) -> Iterator[_Backend]:
    checked: dict[str, str] = {}
    for route in routes:
        name = f"model_{file_name(route.served_name)}"
        weights = small_weights([backend.weight for backend in route.backends])
        servers = []
        for backend, weight in zip(route.backends, weights, strict=True):
            socket = socket_text(backend.host, backend.port)
            # With its address: a replica that moves is another server to set-weights.sh.
            server = file_name(f"{backend.replica}@{socket}")
            servers.append(_Server(server, socket, weight, checked.get(socket)))
            checked.setdefault(socket, f"{name}/{server}")
        key = route.served_name.encode("utf-8", "surrogatepass").hex().upper()
        longer = None if route.longer is None else (f"model_{file_name(route.longer.served_name)}", route.longer.over_bytes)
        yield _Backend(route.served_name, name, key, tuple(servers), longer)


def _weights(backends: tuple[_Backend, ...]) -> str:
    lines = [f"{backend.name}/{server.name} {server.weight}" for backend in backends for server in backend.servers]
    return "\n".join(["# backend/server weight", *lines]) + "\n"


TARGET = RenderTarget(render, needs=(NOBODY_APART,), settings=HaproxySettings, is_router=True)
