"""What the host has, as the files of its kernel tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.nvml.host_readings import HostReading, read_host


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("limit", "memory_mib"), [("max\n", 64_000), (f"{16 << 30}\n", 16 << 10), (None, 64_000)])
def test_two_threads_are_one_core_and_a_container_may_have_less(limit: str | None, memory_mib: int, tmp_path: Path) -> None:
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    write(tmp_path, "proc/meminfo", f"MemTotal:       {64_000 * 1024} kB\nMemFree: 1 kB\n")
    if limit is not None:
        write(tmp_path, "sys/fs/cgroup/memory.max", limit)
    assert read_host(tmp_path, frozenset(range(8))) == HostReading(4, memory_mib)
    # both threads of one core, and one of another
    assert read_host(tmp_path, frozenset({0, 4, 1})).host_cores == 2


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0,2-4\n", 4), ("", 1), ("nonsense\n", 1)])
def test_numa_nodes_are_those_with_memory(text: str, count: int, tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/node/has_memory", text)
    assert read_host(tmp_path, frozenset({0})).numa_nodes == count


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert read_host(tmp_path, frozenset({0, 1, 2})) == HostReading(3, None)
    assert read_host().host_cores >= 1
