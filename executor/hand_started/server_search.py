"""vLLM servers among the processes of this machine, as /proc shows them."""

from __future__ import annotations

import os
import pwd
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.hand_started.serve_command import ServeCommand, arguments_of, read_arguments
from executor.processes import proc

# What is read of a server's environment: nothing else is kept, it may hold secrets.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# what vLLM calls the processes that a server starts
_CHILD_TITLE = re.compile(r"VLLM::\S+")


@dataclass(frozen=True, slots=True)
class EngineProcess:
    """A vLLM server. family are its own id and those of all that it started; titles are what vLLM calls those.

    environment holds the variables that matter, None where it cannot be read. unit is the systemd unit or container scope that it runs
    in, None where it is in none. elsewhere: it lives in another network namespace, so that its port is not one of ours; None where
    that cannot be seen. folder is its working directory, None where that cannot be read.
    """

    process: proc.ProcessFacts
    user: str
    own: bool
    command: ServeCommand
    family: tuple[int, ...]
    titles: tuple[str, ...]
    environment: Mapping[str, str] | None
    unit: str | None
    elsewhere: bool | None
    folder: Path | None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The servers by process id, and engine processes of vLLM whose server is none of them."""

    servers: tuple[EngineProcess, ...]
    orphans: tuple[int, ...]


Recognise = Callable[[Sequence[str]], tuple[str, ...] | None]


def search(recognise: Recognise = arguments_of) -> SearchResult:
    """Every vLLM server that can be seen. recognise gives the arguments of a command line that is one, and None for others."""
    facts = proc.all_facts()
    children = defaultdict(list)
    for process in facts.values():
        children[process.parent].append(process.pid)
    lines = {pid: line for pid in facts if (line := _command_line(pid))}
    found = {pid: arguments for pid, line in lines.items() if (arguments := recognise(line)) is not None}
    # several API servers of one engine may keep its command line: the first of them stands for all
    tops = {pid: arguments for pid, arguments in found.items() if not _ancestors(pid, facts) & found.keys()}
    servers = []
    for pid, arguments in sorted(tops.items()):
        family = _family(pid, children)
        titles = tuple(title for member in family if (title := _title(lines.get(member, ()))) is not None)
        servers.append(_server(facts[pid], arguments, family, titles))
    within = {member for server in servers for member in server.family}
    orphans = tuple(sorted(pid for pid, line in lines.items() if _title(line) is not None and pid not in within))
    return SearchResult(tuple(servers), orphans)


def _server(process: proc.ProcessFacts, arguments: tuple[str, ...], family: tuple[int, ...], titles: tuple[str, ...]) -> EngineProcess:
    user_id = _owner(process.pid)
    return EngineProcess(
        process=process,
        user=_user_name(user_id),
        own=owned_by_us(process.pid),
        command=read_arguments(arguments),
        family=family,
        titles=titles,
        environment=_environment(process.pid),
        unit=_unit(process.pid),
        elsewhere=_elsewhere(process.pid),
        folder=_folder(process.pid),
    )


def _ancestors(pid: int, facts: Mapping[int, proc.ProcessFacts]) -> set[int]:
    found: set[int] = set()
    while pid in facts and (pid := facts[pid].parent) not in found:
        found.add(pid)
    return found


def _family(pid: int, children: Mapping[int, list[int]]) -> tuple[int, ...]:
    found, waiting = [pid], [pid]
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found += new
        waiting += new
    return tuple(sorted(found))


def _command_line(pid: int) -> tuple[str, ...]:
    raw = _read(pid, "cmdline") or b""
    return tuple(raw.decode("utf-8", "replace").rstrip("\0").split("\0")) if raw else ()


def _title(line: Sequence[str]) -> str | None:
    found = _CHILD_TITLE.match(line[0]) if line else None
    return found[0] if found else None


def _environment(pid: int) -> Mapping[str, str] | None:
    raw = _read(pid, "environ")
    if raw is None:
        return None
    pairs = (item.partition("=") for item in raw.decode("utf-8", "replace").split("\0"))
    return {name: value for name, _, value in pairs if name in _VARIABLES}


def _unit(pid: int) -> str | None:
    """The last service or scope of its control group that is not the user's own session."""
    for line in (_read(pid, "cgroup") or b"").decode("utf-8", "replace").splitlines():
        last = line.rpartition("/")[2]
        if last.endswith(".service") or (last.endswith(".scope") and not last.startswith(("session-", "init."))):
            return last
    return None


def _elsewhere(pid: int) -> bool | None:
    try:
        return os.path.realpath(f"/proc/{pid}/ns/net", strict=True) != os.path.realpath("/proc/self/ns/net")
    except OSError:
        return None


def _folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def owned_by_us(pid: int) -> bool:
    """Whether a process belongs to the user that we run as."""
    return _owner(pid) == os.getuid()


def _owner(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except (KeyError, OverflowError):
        return f"uid {user_id}"


def _read(pid: int, name: str) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return None
