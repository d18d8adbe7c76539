"""Planned against observed: what the plan and the state say should run, and what really does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from executor import credentials
from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.protocol import Backend, EngineLoad, Observed, ObservedGpu
from executor.errors import ExecutorError, JournalError, RouterError, StateError
from executor.file_names import file_name
from executor.processes import table as processes
from executor.processes.mps_pipes import DAEMON_PREFIX
from executor.reconcile.memory import PassReport, Remembered, recall
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from executor.state.journal import Journal
from executor.state.lock import holder
from executor.state.refused import move_words, refused_now
from planner.plan import GpuPlan, Plan, Replica, Route, RouterPlan, State
from planner.playbook.refusals import Refusals

Condition = Literal["ready", "asleep", "running", "denied", "missing", "foreign"]


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica. ready: its process lives and names its model; asleep: so, but it sleeps; running: it lives but does not answer so yet;
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
    load: EngineLoad | None


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """The router: its process, and the first difference between its routes and the state's (None: none)."""

    alive: bool
    pid: int | None
    host: str
    port: int
    difference: str | None


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """Memory of one GPU in MiB: what the plan takes of it with what others hold, and what is really held, by ours and by others."""

    node: str
    index: int
    memory_mib: int
    planned_mib: int
    held_mib: int
    foreign_mib: int


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Everything at one moment; drift has one line per difference between plan or state and what is observed.

    gpus are those that the backend can read; passes are the last ones of the reconcile loop, newest last; refused are the
    workloads that the router refuses while another has a burst, burst_moves say who sleeps, is stopped and is awake for it.
    """

    serial: int
    replicas: tuple[ReplicaStatus, ...]
    router: RouterStatus | None
    drift: tuple[str, ...]
    gpus: tuple[GpuStatus, ...] = ()
    passes: tuple[PassReport, ...] = ()
    refused: tuple[str, ...] = ()
    burst_moves: tuple[str, ...] = ()


def status(state_dir: Path, open_backend: OpenBackend = emulated_backend) -> StatusReport:
    """Observe without changing anything; needs no lock. open_backend is what the state was made with.

    Raises StateError on a damaged state folder.
    """
    folder = StateFolder(state_dir)
    return asyncio.run(status_of(folder, open_backend(folder, Path())))


async def status_of(folder: StateFolder, backend: Backend) -> StatusReport:
    """As `status`, inside a running event loop and on any backend."""
    state, refused = folder.load(), refused_now(folder)
    unfinished = tuple(_unfinished(folder))
    # what an apply is in the middle of is told once, not replica by replica
    missing = () if unfinished else _missing(folder, state, refused)
    observed = backend.observe()
    seen, lost = _gpus_seen(backend, state)
    held = _held(seen)
    asleep = frozenset(item.name for item in state.asleep)
    rows = await asyncio.gather(
        *(_replica(backend, item, observed.get(item.name), held, item.name in asleep) for item in (*state.replicas, *missing))
    )
    router = await _router(backend, state.router, state.routes)
    known = {row.name for row in rows}
    strays = tuple(_stray(item, held) for name, item in sorted(observed.items()) if name not in known and item.pids)
    replicas = (*sorted(rows, key=lambda row: row.name), *strays)
    remembered = recall(folder.reconcile_path)
    drift = (*unfinished, *lost, *_drift(known, replicas, router, remembered), *_sleep_drift(asleep, rows))
    gpus = tuple(_gpus(state, seen, {*_daemon_pids(folder), *(pid for item in observed.values() for pid in item.pids)}))
    return StatusReport(state.serial, replicas, router, drift, gpus, remembered.passes, refused.workloads, move_words(refused.moves))


def _gpus_seen(backend: Backend, state: State) -> tuple[tuple[ObservedGpu, ...], tuple[str, ...]]:
    """The GPUs that can be read, and those of the state that are gone."""
    if not backend.capabilities.reads_gpus:
        return (), ()
    try:
        seen = backend.gpus()
    except ExecutorError as error:
        return (), (f"GPUs cannot be read: {error}",)
    there = {(gpu.node, gpu.index) for gpu in seen}
    gone = [gpu for gpu in state.gpus if not there & {(gpu.node, gpu.index), (file_name(gpu.node), gpu.index)}]
    return seen, tuple(f"GPU {gpu.index} of {gpu.node} is gone" for gpu in gone)


def _missing(folder: StateFolder, state: State, refused: Refusals) -> tuple[Replica, ...]:
    """Replicas of the plan that is to be kept which the state does not name: given up for now by the reconcile loop.

    Those that are stopped for a burst are none.
    """
    goal: Plan | None
    try:
        goal = goal_of(folder)
    except StateError:
        # of an earlier or later version: status tells what it can
        return ()
    named = {replica.name for replica in state.replicas} | {*refused.moves.stopped}
    return () if goal is None else tuple(replica for replica in goal.desired.replicas if replica.name not in named)


async def _replica(
    backend: Backend, replica: Replica, seen: Observed | None, held: Mapping[int, tuple[int, bool | None]], asleep: bool
) -> ReplicaStatus:
    """asleep is what the state says; it counts where the engine's metrics do not tell."""
    own = seen is not None and seen.alive
    answer = await backend.ask(replica)
    condition: Condition
    if answer.denied:
        condition = "denied" if own else "foreign"
    elif own:
        condition = "ready" if answer.names is not None and replica.served_name in answer.names else "running"
    else:
        # it may still answer though it computes nothing more, as its MPS daemon is gone
        leads = seen is not None and seen.leads
        condition = "running" if leads else "missing" if answer.names is None else "foreign"
    memory_mib, active = _memory(seen, held)
    pid = seen.pid if seen is not None and (own or seen.leads) else None
    load = answer.load if condition == "ready" else None
    if load is not None and (asleep if load.asleep is None else load.asleep > 0):
        condition = "asleep"
    return ReplicaStatus(replica.name, condition, pid, replica.node, replica.gpus, replica.args.port, memory_mib, active, load)


def _stray(seen: Observed, held: Mapping[int, tuple[int, bool | None]]) -> ReplicaStatus:
    memory_mib, active = _memory(seen, held)
    return ReplicaStatus(seen.name, "foreign", seen.pid, None, (), None, memory_mib, active, None)


def _memory(seen: Observed | None, held: Mapping[int, tuple[int, bool | None]]) -> tuple[int | None, bool | None]:
    found = [held[pid] for pid in seen.pids if pid in held] if seen is not None else []
    known = [active for _, active in found if active is not None]
    return (sum(mib for mib, _ in found) if found else None, any(known) if known else None)


def _held(gpus: tuple[ObservedGpu, ...]) -> dict[int, tuple[int, bool | None]]:
    """Memory in MiB over all GPUs that can be read, and whether it works now (None: cannot be seen), by process."""
    held: dict[int, tuple[int, bool | None]] = {}
    for process in (process for gpu in gpus for process in gpu.holders):
        mib, active = held.get(process.pid, (0, None))
        held[process.pid] = (mib + process.memory_mib, process.active if active is None else active or process.active)
    return held


def _daemon_pids(folder: StateFolder) -> Iterator[int]:
    """Of MPS daemons: their servers hold some memory of the GPUs that they share out."""
    for record in processes.ProcessTable(folder.processes, folder.logs).readable(DAEMON_PREFIX)[0]:
        yield from processes.members(record)


def _gpus(state: State, seen: tuple[ObservedGpu, ...], ours: Set[int]) -> Iterator[GpuStatus]:
    """Planned against observed, for the GPUs of the state that can be read."""
    found = {(gpu.node, gpu.index): gpu for gpu in seen}
    for gpu in state.gpus:
        now = found.get((gpu.node, gpu.index)) or found.get((file_name(gpu.node), gpu.index))
        if now is not None:
            foreign_mib = sum(process.memory_mib for process in now.holders if process.pid not in ours)
            held_mib = sum(process.memory_mib for process in now.holders)
            yield GpuStatus(gpu.node, gpu.index, gpu.memory_mib, _planned_mib(gpu), held_mib, foreign_mib)


def _planned_mib(gpu: GpuPlan) -> int:
    return gpu.weights_mib + gpu.kv_mib + gpu.overhead_mib + gpu.taken_mib


async def _router(backend: Backend, settings: RouterPlan | None, routes: tuple[Route, ...]) -> RouterStatus | None:
    if settings is None:
        return None
    try:
        difference = await backend.router.difference(settings, routes)
    except RouterError as error:
        difference = str(error)
    pid = backend.router.pid()
    return RouterStatus(pid is not None, pid, settings.host, settings.port, difference)


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
    if unfinished is not None and not unfinished.repair:
        why = unfinished.reason.partition("\n")[0] or "it was cut off"
        yield f"apply: stopped with {len(unfinished.done)} of its plan's actions done: {why}; apply that plan again, or plan again"


def _drift(known: set[str], replicas: tuple[ReplicaStatus, ...], router: RouterStatus | None, remembered: Remembered) -> tuple[str, ...]:
    failed = {attempt.name: f" (failed {attempt.failures} times: {attempt.reason})" for attempt in remembered.attempts}
    lines = []
    for row in replicas:
        if row.name not in known:
            lines.append(f"replica {row.name}: process {row.pid} runs but is not in the state")
        elif row.condition == "foreign":
            lines.append(f"replica {row.name}: does not run, and another program answers on its port {row.port}")
        elif row.condition == "denied":
            lines.append(f"replica {row.name}: runs, but {credentials.DEMAND}")
        elif row.condition == "missing":
            lines.append(f"replica {row.name}: does not run{failed.get(row.name, '')}")
        elif row.condition not in ("ready", "asleep"):
            lines.append(f"replica {row.name}: runs but is not ready")
    if router is not None and router.difference is not None:
        lines.append(f"router: {router.difference}")
    return tuple(lines)


def _sleep_drift(asleep: Set[str], rows: Iterable[ReplicaStatus]) -> Iterator[str]:
    """Replicas that sleep, or are awake, against the state."""
    for row in sorted(rows, key=lambda row: row.name):
        if row.condition == "asleep" and row.name not in asleep:
            yield f"replica {row.name}: sleeps, and the state has it awake; requests to it wait"
        elif row.condition == "ready" and row.name in asleep:
            yield f"replica {row.name}: is awake, and the state has it asleep: it may hold memory that others need"
