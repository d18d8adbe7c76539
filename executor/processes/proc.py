"""What the kernel says about processes: state, session and start time from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One line of /proc/PID/stat, as far as it matters here; start_ticks counts clock ticks since boot, threads what still runs of it."""

    pid: int
    state: str
    group: int
    session: int
    threads: int
    start_ticks: int
    parent: int = 0

    @property
    def living(self) -> bool:
        """Neither a zombie nor already dead, with all its threads.

        A killed process may show Z for its first thread while others are still on their way out, and with them its ports and memory.
        """
        return self.state not in "ZXx" or self.threads > 1


def facts(pid: int) -> ProcessFacts | None:
    """Facts of a process, None when there is none with this id."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the command name stands in parentheses and may itself hold spaces and parentheses: fields count from the last one
    fields = text[text.rindex(")") + 2 :].split()
    # field numbers of proc_pid_stat(5): state 3, ppid 4, pgrp 5, session 6, num_threads 20, starttime 22
    return ProcessFacts(pid, fields[0], int(fields[2]), int(fields[3]), int(fields[17]), int(fields[19]), int(fields[1]))


def all_facts() -> dict[int, ProcessFacts]:
    """Facts of every living process that can be seen, by id."""
    found = (facts(int(entry.name)) for entry in os.scandir(_PROC) if entry.name.isdecimal())
    return {process.pid: process for process in found if process is not None and process.living}


def age_s(process: ProcessFacts) -> float | None:
    """Seconds since a process was started; None where the kernel does not tell how long it runs itself."""
    try:
        uptime_s = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, uptime_s - process.start_ticks / os.sysconf("SC_CLK_TCK"))


def session_members(session: int) -> tuple[int, ...]:
    """Living processes of a session, sorted; zombies that nobody reaped do not count."""
    found = []
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            process = facts(int(entry.name))
            if process is not None and process.session == session and process.living:
                found.append(process.pid)
    return tuple(sorted(found))


def group_members(group: int) -> tuple[int, ...]:
    """Living processes of a process group, sorted."""
    return tuple(sorted(process.pid for process in all_facts().values() if process.group == group))


def appends(pid: int, log: Path) -> bool:
    """Whether what the process's output and error streams write into this file always goes to its end; other files do not matter."""
    for number in (1, 2):
        try:
            if os.path.samestat((_PROC / str(pid) / "fd" / str(number)).stat(), log.stat()):
                text = (_PROC / str(pid) / "fdinfo" / str(number)).read_text(encoding="ascii")
                # proc_pid_fdinfo(5): a line "flags:" with the open flags in octal
                flags = next(int(line.split()[1], 8) for line in text.splitlines() if line.startswith("flags:"))
                if not flags & os.O_APPEND:
                    return False
        except OSError:
            # the stream is closed, or the process is gone
            continue
    return True


@cache
def boot_id() -> str:
    """Identity of this boot: start times are only comparable within one."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
