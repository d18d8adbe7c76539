"""Processes we start: each leads a session of its own, is on record before it runs, and is signalled as a whole group.

Killing only the leader of a real engine leaves its EngineCore alive with the GPU memory, so every signal goes to the group.
A process counts as ours only when pid, start time and boot match its record.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from executor.errors import ProcessError, StateError
from executor.file_names import file_name
from executor.processes import logs, proc
from executor.waiting import wait_until
from profiles.regular_files import sync_folder, write_atomic

# The shell waits for one line before it becomes the program. When we die first it reads end-of-file and ends: nothing runs unrecorded.
_GATE = 'cd "$0" && read -r go && exec "$@" </dev/null'

# what Python or a shell's background start may have set to be ignored, which children would inherit
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# SIGKILL takes effect when the process next leaves the kernel; seconds mean a hung device driver
_KILL_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A started process group: the leader's pid is also its session and group id; command_hash covers arguments and environment.

    adopted: somebody else started it, and its leader may lead its group only, in a session of others. mps_pipes is the folder in which an
    MPS daemon and its clients meet; empty for processes that are neither.
    """

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    command_hash: str
    argv: tuple[str, ...]
    log: str
    adopted: bool = False
    mps_pipes: str = ""


def command_hash(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """SHA-256 over a command line and the environment rendered for it."""
    return hashlib.sha256(json.dumps([list(argv), sorted(environment.items())]).encode()).hexdigest()


def alive(record: ProcessRecord) -> bool:
    """The leader itself runs (reaping it first when it was our child)."""
    _reap(record.pid)
    process = proc.facts(record.pid)
    return process is not None and process.living and _same(record, process)


def members(record: ProcessRecord) -> tuple[int, ...]:
    """Living processes of the group, also when its leader is dead.

    The kernel gives nobody a pid that is still some session's or group's id, so members are ours even without their leader.
    """
    _reap(record.pid)
    process = proc.facts(record.pid)
    if record.boot_id != proc.boot_id() or (process is not None and not _same(record, process)):
        return ()
    found = proc.session_members(record.pid)
    return tuple(sorted({*found, *proc.group_members(record.pid)})) if record.adopted else found


async def stop(record: ProcessRecord, grace_s: float) -> None:
    """SIGTERM to the group, SIGKILL after the grace period, until none is left. Raises ProcessError when one survives."""
    if not _signal(record, signal.SIGTERM):
        return
    if await wait_until(lambda: not members(record), grace_s):
        return
    if not _signal(record, signal.SIGKILL) or await wait_until(lambda: not members(record), _KILL_LIMIT_S):
        return
    pids = ", ".join(map(str, members(record)))
    raise ProcessError(
        f"{record.name}: processes {pids} outlive SIGKILL by {_KILL_LIMIT_S:g} s; see their state in /proc and the log {record.log}"
    )


class ProcessTable:
    """Records of the processes of one state folder, one file each."""

    def __init__(self, folder: Path, log_folder: Path, limits: logs.LogLimits | None = None) -> None:
        """Folder holds the records, log_folder the output of each process, within the limits."""
        self._folder = folder
        self._logs = log_folder
        self._limits = limits or logs.LogLimits()

    def records(self) -> tuple[ProcessRecord, ...]:
        """Every record, sorted by name. Raises StateError on a damaged one."""
        return tuple(sorted((_load(path) for path in self._folder.glob("*.json")), key=lambda record: record.name))

    def readable(self, prefix: str = "") -> tuple[tuple[ProcessRecord, ...], tuple[str, ...]]:
        """The records that can be read, sorted by name, and what is wrong with each of the others; prefix: only those that begin so."""
        found, damaged = [], []
        for path in sorted(self._folder.glob(f"{prefix}*.json")):
            try:
                found.append(_load(path))
            except StateError as error:
                damaged.append(str(error))
        return tuple(sorted(found, key=lambda record: record.name)), tuple(damaged)

    def record(self, name: str) -> ProcessRecord | None:
        """The record of one name, None when it was never started or is forgotten."""
        path = self._path(name)
        return _load(path) if path.exists() else None

    def adopt(self, record: ProcessRecord) -> None:
        """Put a process on record that somebody else started; it is not touched. Raises ProcessError when the disk refuses."""
        try:
            write_atomic(self._path(record.name), json.dumps(asdict(record), sort_keys=True, indent=2) + "\n")
        except OSError as error:
            raise ProcessError(f"{record.name}: cannot be recorded: {error.strerror or error}") from error

    def log_of(self, name: str) -> Path:
        """Where the log of a process of this name is, or would be."""
        return self._logs / _log_name(name)

    def forget(self, name: str) -> None:
        """Drop the record of a process group that is gone."""
        self._path(name).unlink(missing_ok=True)
        if self._folder.exists():
            sync_folder(self._folder)

    def start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str], digest: str, folder: Path, mps_pipes: str = ""
    ) -> ProcessRecord:
        """Start a program in a session of its own, on record before its first instruction; output goes to a new log, the former is kept.

        environment is complete (nothing is inherited); folder becomes its working directory. Raises ProcessError.
        """
        log = self._logs / _log_name(name)
        read_end, write_end = os.pipe()
        try:
            output = logs.open_new(log, self._limits.kept)
            try:
                actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in ((read_end, 0), (output, 1), (output, 2))]
                command = ["/bin/sh", "-c", _GATE, str(folder), *argv]
                pid = os.posix_spawn("/bin/sh", command, dict(environment), file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS)
            finally:
                os.close(output)
            process = proc.facts(pid)
            if process is None:
                raise ProcessError(f"{name}: /proc/{pid} is not readable: processes cannot be recorded on this system")
            record = ProcessRecord(name, pid, process.start_ticks, proc.boot_id(), digest, tuple(argv), str(log), mps_pipes=mps_pipes)
            write_atomic(self._path(name), json.dumps(asdict(record), sort_keys=True, indent=2) + "\n")
            os.write(write_end, b"go\n")
        except OSError as error:
            raise ProcessError(f"{name}: cannot be started: {error.strerror or error}") from error
        finally:
            os.close(read_end)
            os.close(write_end)
        return record

    def rotate_logs(self) -> tuple[str, ...]:
        """Bound the log of every process on record, also while it writes; what could not be done, for people."""
        troubles = []
        for record in self.readable()[0]:
            log = Path(record.log)
            # an engine that was started without O_APPEND would go on at its old place, behind a hole
            if not all(proc.appends(pid, log) for pid in members(record)):
                continue
            try:
                logs.rotate(log, self._limits.limit_bytes, self._limits.kept)
            except StateError as error:
                troubles.append(str(error))
        return tuple(troubles)

    def _path(self, name: str) -> Path:
        return self._folder / f"{file_name(name)}.json"


def _log_name(name: str) -> str:
    """As file_name; a name that ends like the number of a former log does not meet one: a.1.log is the former of a.log."""
    return re.sub(r"\.(\d+)$", r"%2E\1", file_name(name)) + ".log"


def _load(path: Path) -> ProcessRecord:
    try:
        value = json.loads(path.read_bytes())
        value["argv"] = tuple(value["argv"])
        return ProcessRecord(**value)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StateError(f"{path}: not a process record: {error}; find out what still runs before you remove it") from error


def _same(record: ProcessRecord, process: proc.ProcessFacts) -> bool:
    return process.start_ticks == record.start_ticks and record.boot_id == proc.boot_id()


def _signal(record: ProcessRecord, number: signal.Signals) -> bool:
    """Signal the group at once, and members of the session that left the group; False when nothing lives."""
    group = members(record)
    if not group:
        return False
    strays = [pid for pid in group if (process := proc.facts(pid)) is not None and process.group != record.pid]
    try:
        with suppress(ProcessLookupError):
            os.killpg(record.pid, number)
        for pid in strays:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    except PermissionError as error:
        raise ProcessError(f"{record.name}: processes {group} belong to another user and cannot be stopped") from error
    return True


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
