"""MPS daemons: one for each GPU that engines share by MPS, there before the first of them and gone after the last.

A daemon and its clients fail together, so engines of two GPUs never have one daemon. Which engine is whose client is known by what
is on record: the folder where they meet, and that a client was started after its daemon.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from executor import start_causes
from executor.errors import ExecutorError, StartError
from executor.file_names import file_name
from executor.processes import logs
from executor.processes import table as processes
from executor.processes.mps_pipes import (
    DAEMON_PREFIX,
    PIPES_VARIABLE,
    check_folder,
    is_daemon,
    make_folder,
    pipe_folder,
    remove_folder,
    takes_clients,
)
from executor.state.folder import StateFolder
from executor.waiting import finish, wait_until
from planner.plan import Plan, Replica

# In the foreground, so that it stays the process that we have on record.
NVIDIA_CONTROL = ("nvidia-cuda-mps-control", "-f")

# What of our own environment a daemon gets: no credentials, and no limits that somebody set for clients.
_INHERITED = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ")
# What of an engine's environment says which GPU it is; with indices, a daemon would count again what it already counts itself.
_DEVICES = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")

_START_LIMIT_S = 30.0
# its clients are gone by then
_STOP_GRACE_S = 5.0


class MpsDaemons:
    """The daemons of one state folder."""

    def __init__(self, folder: StateFolder, table: processes.ProcessTable, argv: tuple[str, ...] = NVIDIA_CONTROL) -> None:
        """argv starts a control daemon in the foreground."""
        self._folder = folder
        self._table = table
        self._argv = argv
        # a daemon is never ended while an engine is on its way to it
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def preflight(self, plan: Plan, path: str) -> None:
        """Raises ExecutorError where daemons that the plan needs cannot be started; path is where programs are looked for."""
        sharing = [replica for replica in plan.started if replica.mode == "mps"]
        if sharing and shutil.which(self._argv[0], path=path) is None:
            raise ExecutorError(
                f"replica {sharing[0].name}: shares its GPU by MPS, and there is no `{self._argv[0]}` on PATH: install the MPS tools of "
                "the NVIDIA driver, or take `mps` out of the pool's `sharing` and plan again"
            )
        for replica in sharing:
            check_folder(self._pipes(replica))

    @asynccontextmanager
    async def joined(self, replica: Replica, environment: Mapping[str, str]) -> AsyncIterator[str]:
        """The folder where the replica finds the daemon of its GPU, which runs; it stays until the body has put the replica on record.

        environment is what the replica is started with. Empty for a replica that does not share by MPS. Raises StartError, ProcessError.
        """
        if replica.mode != "mps":
            yield ""
            return
        name = f"{DAEMON_PREFIX}{replica.node}-gpu{replica.gpus[0]}"
        async with self._turns[name]:
            record = self._table.record(name)
            if record is not None and not processes.alive(record):
                # its server may be left behind, and whoever computes through that has no daemon any more
                await finish(self._end(record))
                record = None
            record = record or self._begin(name, replica, environment)
            await self._await_door(record, replica)
            yield record.mps_pipes

    def serves(self, record: processes.ProcessRecord) -> bool:
        """Whether the leader of an engine runs, and with it the daemon that it was started under: without that it computes nothing."""
        if not processes.alive(record):
            return False
        if not record.mps_pipes:
            return True
        return any(_is_client(record, daemon) and processes.alive(daemon) for daemon in self._daemons())

    async def end_unused(self) -> None:
        """End the daemons that no engine on record needs any more. Raises ProcessError when one survives."""
        for found in self._daemons():
            async with self._turns[found.name]:
                record = self._table.record(found.name)
                if record is not None and not self._has_clients(record):
                    await finish(self._end(record))

    def _daemons(self) -> tuple[processes.ProcessRecord, ...]:
        return self._table.readable(DAEMON_PREFIX)[0]

    def _has_clients(self, daemon: processes.ProcessRecord) -> bool:
        """Also where that cannot be told, as a record cannot be read."""
        records, damaged = self._table.readable()
        return bool(damaged) or any(_is_client(record, daemon) and processes.members(record) for record in records)

    def _pipes(self, replica: Replica) -> Path:
        return pipe_folder(self._folder.root, replica.node, replica.gpus[0])

    def _logs(self, name: str) -> Path:
        """Where the daemon writes its own logs, beside the one of its output."""
        return self._folder.logs / file_name(name)

    def _begin(self, name: str, replica: Replica, environment: Mapping[str, str]) -> processes.ProcessRecord:
        pipes, own_logs = self._pipes(replica), self._logs(name)
        try:
            make_folder(pipes)
            own_logs.mkdir(parents=True, exist_ok=True)
        except (ExecutorError, OSError) as error:
            raise StartError(replica.name, start_causes.MPS_DAEMON, str(error)) from error
        devices = {key: environment[key] for key in _DEVICES if key in environment}
        inherited = {key: environment[key] for key in _INHERITED if key in environment}
        meeting = {PIPES_VARIABLE: str(pipes), "CUDA_MPS_LOG_DIRECTORY": str(own_logs)}
        digest = processes.command_hash(self._argv, devices)
        return self._table.start(name, self._argv, {**inherited, **devices, **meeting}, digest, self._folder.root, mps_pipes=str(pipes))

    async def _await_door(self, record: processes.ProcessRecord, replica: Replica) -> None:
        """Raises StartError with the end of the daemon's log. One that runs and takes nobody is left to the engines that it has."""
        folder = Path(record.mps_pipes)
        await wait_until(lambda: takes_clients(folder) or not processes.alive(record), _START_LIMIT_S)
        lives = processes.alive(record)
        if lives and takes_clients(folder):
            return
        said = logs.read_end(Path(record.log)) or logs.read_end(self._logs(record.name) / "control.log")
        what = f"takes no clients in {folder} after {_START_LIMIT_S:.0f} s" if lives else "has ended"
        raise StartError(
            replica.name,
            start_causes.MPS_DAEMON,
            f"the MPS daemon of GPU {replica.gpus[0]} of {replica.node} {what}",
            log=f"the end of its log {record.log}:\n{logs.tail(said)}",
        )

    async def _end(self, record: processes.ProcessRecord) -> None:
        await processes.stop(record, _STOP_GRACE_S)
        remove_folder(record.mps_pipes)
        self._table.forget(record.name)


def _is_client(record: processes.ProcessRecord, daemon: processes.ProcessRecord) -> bool:
    """Whether an engine was started under this very daemon: one that took the place of another has the same folder."""
    met = not is_daemon(record.name) and record.mps_pipes == daemon.mps_pipes
    return met and record.boot_id == daemon.boot_id and record.start_ticks >= daemon.start_ticks
