"""Servers that somebody else started, into a state folder and out again. Their processes are not touched, only written down.

First a proposal (adopt.json in the state folder), then records and state. Both can be taken back: no step signals a process.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from executor.backends.engine_kinds import OpenBackend
from executor.backends.local import PREFIX
from executor.errors import ExecutorError, StateError
from executor.hand_started.server_search import owned_by_us
from executor.processes import proc
from executor.processes import table as processes
from executor.state.folder import StateFolder
from executor.state.lock import locked
from planner.plan import GpuPlan, NodePlan, Prior, Replica, Route, State, state_hash, to_json
from planner.plan.bounds import PlanPart, WholeNumber
from planner.routes import routes_for
from profiles.regular_files import write_atomic


class AdoptedServer(PlanPart):
    """A process, and the replica that it becomes. argv holds no secrets; differences are for people. kept: the next plan keeps it."""

    replica: Replica
    pid: WholeNumber
    start_ticks: int
    boot_id: str
    argv: tuple[str, ...]
    differences: tuple[str, ...]
    kept: bool


class AdoptionProposal(PlanPart):
    """What adoption would write. refused are servers that cannot be adopted, each with the reason."""

    prior: Prior
    nodes: tuple[NodePlan, ...]
    gpus: tuple[GpuPlan, ...]
    servers: tuple[AdoptedServer, ...]
    refused: tuple[str, ...]


def write_proposal(state_dir: Path, proposal: AdoptionProposal) -> Path:
    """Leave it in the state folder, in place of an earlier one. Raises StateError."""
    folder = StateFolder(state_dir)
    folder.create()
    path = _path(folder)
    try:
        write_atomic(path, to_json(proposal))
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def confirm(state_dir: Path, open_backend: OpenBackend, engine: str, fleet_folder: Path) -> tuple[str, ...]:
    """Write the records and the state of the proposal; returns the names of the replicas.

    engine is the name of the backend. Raises ExecutorError where there is no proposal, the state has changed since it was made, or a
    process is not the one any more; then nothing is written. Cut off in between, `release` takes back what there is.
    """
    folder = StateFolder(state_dir)
    if not folder.root.exists():
        raise StateError(f"{folder.root}: there is no proposal; `ullage adopt` makes one")
    with locked(folder.lock_path, "adopt"):
        proposal, state = _read(_path(folder)), folder.load()
        if (proposal.prior.serial, proposal.prior.state_hash) != (state.serial, state_hash(state)):
            raise StateError(f"{folder.state_path}: has changed since the proposal was made; run `ullage adopt` again")
        changed = [f"{item.replica.name}: {why}" for item in proposal.servers if (why := why_not_adopted(item.pid, item)) is not None]
        if changed:
            raise ExecutorError("\n".join([*changed, "nothing was adopted; run `ullage adopt` again"]))
        backend = open_backend(folder, fleet_folder)
        table = processes.ProcessTable(folder.processes, folder.logs)
        for item in proposal.servers:
            table.adopt(_record(item, backend.wanted_hash(item.replica), table))
        folder.set_engine(engine)
        folder.save(_with(state, proposal))
        _path(folder).unlink(missing_ok=True)
        return tuple(item.replica.name for item in proposal.servers)


def why_not_adopted(pid: int, known: AdoptedServer | None = None) -> str | None:
    """Why a process cannot be adopted, or is not the known one any more; None when it can."""
    process = proc.facts(pid)
    if process is None or not process.living:
        return f"process {pid} does not run any more"
    if known is not None and (process.start_ticks, proc.boot_id()) != (known.start_ticks, known.boot_id):
        return f"process {pid} is another one than when the proposal was made"
    if not owned_by_us(pid):
        return f"process {pid} belongs to another user"
    if process.group != pid:
        return (
            f"process {pid} does not lead a process group of its own, so that its processes cannot be told from others (group "
            f"{process.group}); start it with setsid, or from an interactive shell"
        )
    return None


def release(state_dir: Path) -> tuple[str, ...]:
    """Take all that was adopted out of records and state, and leave the processes as they are; returns the names of the replicas.

    Also drops a proposal. The goal of the reconcile loop goes where it names one of them: it would start them again.
    """
    folder = StateFolder(state_dir)
    if not folder.root.exists():
        return ()
    with locked(folder.lock_path, "adopt"):
        _path(folder).unlink(missing_ok=True)
        table = processes.ProcessTable(folder.processes, folder.logs)
        records = [record for record in table.records() if record.adopted]
        names = {record.name.removeprefix(PREFIX) for record in records}
        if not names:
            return ()
        state = folder.load()
        for remembered in (folder.goal_path, folder.reconcile_path):
            remembered.unlink(missing_ok=True)
        left = tuple(replica for replica in state.replicas if replica.name not in names)
        gpus = tuple(_without(gpu, state, names) for gpu in state.gpus)
        asleep = tuple(item for item in state.asleep if item.name not in names)
        changes = {"serial": state.serial + 1, "replicas": left, "gpus": gpus, "asleep": asleep, "routes": _routes(state, left)}
        folder.save(state.model_copy(update=changes))
        for record in records:
            table.forget(record.name)
        return tuple(sorted(names))


def _path(folder: StateFolder) -> Path:
    return folder.root / "adopt.json"


def _read(path: Path) -> AdoptionProposal:
    try:
        return AdoptionProposal.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise StateError(f"{path}: there is no proposal; `ullage adopt` makes one") from error
    except (OSError, ValueError, ValidationError) as error:
        raise StateError(f"{path}: not a proposal that can be read; run `ullage adopt` again") from error


def _record(item: AdoptedServer, digest: str, table: processes.ProcessTable) -> processes.ProcessRecord:
    # its own log is left where its starter wanted it: this one is made when ullage starts it again
    name = PREFIX + item.replica.name
    return processes.ProcessRecord(name, item.pid, item.start_ticks, item.boot_id, digest, item.argv, str(table.log_of(name)), adopted=True)


def _with(state: State, proposal: AdoptionProposal) -> State:
    replicas = tuple(sorted((*state.replicas, *(item.replica for item in proposal.servers)), key=lambda replica: replica.name))
    changes = {"serial": state.serial + 1, "nodes": proposal.nodes, "gpus": proposal.gpus, "replicas": replicas}
    return state.model_copy(update={**changes, "routes": _routes(state, replicas)})


def _routes(state: State, replicas: tuple[Replica, ...]) -> tuple[Route, ...]:
    """Routes of what runs; those of a router that runs stay as they are until a plan is applied."""
    return state.routes if state.router is not None else routes_for(replicas)


def _without(gpu: GpuPlan, state: State, names: set[str]) -> GpuPlan:
    gone = [replica.ledger for replica in state.replicas if replica.name in names and replica.name in gpu.replicas]
    left = tuple(name for name in gpu.replicas if name not in names)
    weights_mib, kv_mib = sum(ledger.weights_mib for ledger in gone), sum(ledger.kv_mib for ledger in gone)
    total_mib = sum(ledger.total_mib for ledger in gone)
    changes = {
        "replicas": left,
        "mode": gpu.mode if left else "free",
        "weights_mib": gpu.weights_mib - weights_mib,
        "kv_mib": gpu.kv_mib - kv_mib,
        "overhead_mib": gpu.overhead_mib - (total_mib - weights_mib - kv_mib),
        "free_mib": gpu.free_mib + total_mib,
        "busy_fraction": gpu.busy_fraction if left else 0.0,
    }
    return gpu.model_copy(update=changes)
