"""Planned against observed: what the state says should run, and what really does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp

from executor import credentials
from executor.backends import probes
from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.local import PREFIX
from executor.backends.protocol import Backend
from executor.errors import AccessError, JournalError
from executor.processes import table as processes
from executor.router import admin
from executor.router.envoy import NAME, EnvoyRouter
from executor.state.folder import StateFolder
from executor.state.journal import Journal
from executor.state.lock import holder
from planner.plan import Replica, Route, RouterPlan, State

Condition = Literal["ready", "running", "denied", "missing", "foreign"]


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica. ready: its process lives and names its model; running: it lives but does not answer so yet;
    denied: it lives and demands an API key that ours is not; missing: no process of ours; foreign: another program answers on its port,
    or a recorded process that the state does not name.

    memory_mib and active come from the GPUs that the backend can read (None elsewhere); load from the engine's own metrics, None when it
    does not answer.
    """

    name: str
    condition: Condition
    pid: int | None
    node: str | None
    gpus: tuple[int, ...]
    port: int | None
    memory_mib: int | None
    active: bool | None
    load: probes.EngineLoad | None


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """The router: its process, and the first difference between its routes and the state's (None: none)."""

    alive: bool
    pid: int | None
    host: str
    port: int
    difference: str | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Everything at one moment; drift has one line per difference between the state and what is observed."""

    serial: int
    replicas: tuple[ReplicaStatus, ...]
    router: RouterStatus | None
    drift: tuple[str, ...]


def status(state_dir: Path, open_backend: OpenBackend = emulated_backend) -> StatusReport:
    """Observe without changing anything; needs no lock. open_backend is what the state was made with.

    Raises StateError on a damaged state folder.
    """
    folder = StateFolder(state_dir)
    return asyncio.run(_status(folder, open_backend(folder, Path())))


async def _status(folder: StateFolder, backend: Backend) -> StatusReport:
    state = folder.load()
    table = processes.ProcessTable(folder.processes, folder.logs)
    records = {record.name: record for record in table.records()}
    held = _held(backend)
    async with aiohttp.ClientSession() as session:
        rows = await asyncio.gather(*(_replica(session, replica, records.get(PREFIX + replica.name), held) for replica in state.replicas))
        router = await _router(session, folder, state.router, state.routes)
    named = {PREFIX + replica.name for replica in state.replicas} | {NAME}
    strays = tuple(_stray(record, held) for name, record in sorted(records.items()) if name not in named and processes.members(record))
    replicas = (*rows, *strays)
    return StatusReport(state.serial, replicas, router, (*_unfinished(folder), *_drift(state, replicas, router)))


async def _replica(
    session: aiohttp.ClientSession, replica: Replica, record: processes.ProcessRecord | None, held: dict[int, tuple[int, bool | None]]
) -> ReplicaStatus:
    port = replica.args.port
    own = record is not None and processes.alive(record)
    condition = await _condition(session, replica, own=own)
    load = await probes.load(session, replica.host, port) if condition == "ready" else None
    memory_mib, active = _memory(record, held)
    pid = record.pid if own and record is not None else None
    return ReplicaStatus(replica.name, condition, pid, replica.node, replica.gpus, port, memory_mib, active, load)


async def _condition(session: aiohttp.ClientSession, replica: Replica, *, own: bool) -> Condition:
    try:
        names = await probes.served_names(session, replica.host, replica.args.port)
    except AccessError:
        return "denied" if own else "foreign"
    if own:
        return "ready" if names is not None and replica.served_name in names else "running"
    return "missing" if names is None else "foreign"


def _stray(record: processes.ProcessRecord, held: dict[int, tuple[int, bool | None]]) -> ReplicaStatus:
    memory_mib, active = _memory(record, held)
    return ReplicaStatus(record.name.removeprefix(PREFIX), "foreign", record.pid, None, (), None, memory_mib, active, None)


def _memory(record: processes.ProcessRecord | None, held: dict[int, tuple[int, bool | None]]) -> tuple[int | None, bool | None]:
    found = [held[pid] for pid in processes.members(record) if pid in held] if record is not None else []
    known = [active for _, active in found if active is not None]
    return (sum(mib for mib, _ in found) if found else None, any(known) if known else None)


def _held(backend: Backend) -> dict[int, tuple[int, bool | None]]:
    """Memory in MiB over all GPUs that can be read, and whether it works now (None: cannot be seen), by process."""
    held: dict[int, tuple[int, bool | None]] = {}
    for process in (process for gpu in backend.gpus() for process in gpu.holders):
        mib, active = held.get(process.pid, (0, None))
        held[process.pid] = (mib + process.memory_mib, process.active if active is None else active or process.active)
    return held


async def _router(
    session: aiohttp.ClientSession, folder: StateFolder, settings: RouterPlan | None, routes: tuple[Route, ...]
) -> RouterStatus | None:
    if settings is None:
        return None
    router = EnvoyRouter(folder)
    record = router.record()
    seen = await admin.look(session, settings.host, settings.admin_port) if router.alive() else None
    # asked last: a router that ends while we look must not pass for one that only keeps silent
    alive = router.alive()
    difference = "does not run" if not alive else "its admin interface does not answer" if seen is None else seen.lacks(routes)
    return RouterStatus(alive, record.pid if alive and record is not None else None, settings.host, settings.port, difference)


def _unfinished(folder: StateFolder) -> Iterator[str]:
    """The apply that works now, or one that did not end: the state is then between two plans."""
    working = holder(folder.lock_path)
    if working is not None:
        yield f"apply: works now: {working}"
        return
    try:
        unfinished = Journal(folder.journal_path).unfinished()
    except JournalError as error:
        yield f"apply: {error}"
        return
    if unfinished is not None:
        why = unfinished.reason.partition("\n")[0] or "it was cut off"
        yield f"apply: stopped with {len(unfinished.done)} of its plan's actions done: {why}; apply that plan again, or plan again"


def _drift(state: State, replicas: tuple[ReplicaStatus, ...], router: RouterStatus | None) -> tuple[str, ...]:
    named = {replica.name for replica in state.replicas}
    lines = []
    for row in replicas:
        if row.name not in named:
            lines.append(f"replica {row.name}: process {row.pid} runs but is not in the state")
        elif row.condition == "foreign":
            lines.append(f"replica {row.name}: does not run, and another program answers on its port {row.port}")
        elif row.condition == "denied":
            lines.append(f"replica {row.name}: runs, but {credentials.DEMAND}")
        elif row.condition != "ready":
            lines.append(f"replica {row.name}: {'does not run' if row.condition == 'missing' else 'runs but is not ready'}")
    if router is not None and router.difference is not None:
        lines.append(f"router: {router.difference}")
    return tuple(lines)
