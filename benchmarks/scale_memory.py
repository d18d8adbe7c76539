"""Peak memory of a process and its children, as Linux counts it."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from types import TracebackType

# Often enough to see children that live for a second, rarely enough to cost nothing.
SAMPLE_S = 0.1


class TreePeak:
    """Samples, while it is entered, the resident memory of this process and all its descendants; pages they share count for each."""

    def __init__(self, pid: int) -> None:
        """pid is the root of the tree."""
        self._pid, self._stop, self._peak_kib = pid, Event(), 0
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreePeak:
        """Begin to sample."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sample once more and stop."""
        self._stop.set()
        self._thread.join()
        self._sample()

    @property
    def peak_mib(self) -> int:
        """The largest sum seen, or the root's own high-water mark if that is larger."""
        return max(self._peak_kib, _kib(self._pid, "VmHWM")) // 1024

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        self._peak_kib = max(self._peak_kib, sum(_kib(pid, "VmRSS") for pid in _tree(self._pid)))


def _tree(root: int) -> set[int]:
    found, fresh = {root}, [root]
    while fresh:
        for children in Path(f"/proc/{fresh.pop()}/task").glob("*/children"):
            try:
                new = {int(pid) for pid in children.read_text(encoding="ascii").split()} - found
            except OSError:
                continue
            found |= new
            fresh += new
    return found


def _kib(pid: int, field: str) -> int:
    """A field of /proc/PID/status in KiB; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
