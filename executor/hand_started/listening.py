"""Whose port is it? The kernel's tables of listening sockets against the files that processes have open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# proc_net_tcp: state 0A is LISTEN
_LISTENS = "0A"


def listens(pids: Iterable[int], port: int) -> bool | None:
    """Whether one of the processes listens on the TCP port in our network namespace; None where that cannot be seen."""
    wanted = set(_sockets(port))
    if not wanted:
        return False
    seen = False
    for pid in pids:
        try:
            open_files = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names are enough
            # a file that was closed meanwhile is none of its sockets
            if any(_target(f"/proc/{pid}/fd/{name}") in wanted for name in open_files):
                return True
            seen = True
        except OSError:
            continue
    return False if seen else None


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - the target is no path
    except OSError:
        return ""


def _sockets(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/self/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"
