"""What the host of the GPUs has for engines: cores and main memory that this process may use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class HostReading:
    """Cores are physical ones: two threads of one core share its arithmetic. memory_mib is None where the system does not tell it.

    numa_nodes are those that have memory.
    """

    host_cores: int
    memory_mib: int | None
    numa_nodes: int = 1


def read_host(root: Path = Path("/"), cpus: frozenset[int] | None = None) -> HostReading:
    """The host as this process may use it; root is where proc and sys are, cpus are the processors allowed (default: ask the system)."""
    allowed = frozenset(os.sched_getaffinity(0)) if cpus is None else cpus
    siblings = {_text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in allowed}
    limits = [found for found in (_total_mib(root), _limit_mib(root)) if found is not None]
    return HostReading(max(1, len(siblings)), min(limits, default=None), _numa_nodes(root))


def _numa_nodes(root: Path) -> int:
    """From a list like 0-1,4; 1 where there is none."""
    count = 0
    for part in _text(root / "sys/devices/system/node/has_memory").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            count += int(last or first) - int(first) + 1
    return max(1, count)


def _total_mib(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) // _KIB_PER_MIB
    return None


def _limit_mib(root: Path) -> int | None:
    """Of a container."""
    found = _text(root / "sys/fs/cgroup/memory.max")
    return int(found) >> 20 if found.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
