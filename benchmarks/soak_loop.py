"""The loop of the soak: `ullage reconcile PLAN --watch` as a process, killed and started again, its descriptors and memory watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic, time_ns

# What a new process of Python still loads and fills in its first passes does not count as growth.
_SETTLED_S = 20.0
_KIB_PER_MIB = 1024
_STOP_LIMIT_S = 60.0


@dataclass(slots=True)
class LoopLife:
    """One process of the loop: when it began, how long it was watched since, and its descriptors and MiB at each look."""

    began_s: float
    watched_s: float = 0.0
    descriptors: list[int] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)

    @property
    def growth(self) -> tuple[float, float]:
        """More descriptors, and more MiB: the median of the last quarter of the looks less that of the first one."""
        return _growth(self.descriptors), round(_growth(self.resident_mib), 2)


def _growth(looks: Sequence[float]) -> float:
    quarter = len(looks) // 4
    return median(looks[-quarter:]) - median(looks[:quarter]) if quarter else 0.0


class WatchedLoop:
    """Keeps one such process running."""

    def __init__(self, plan: Path, state: Path, log: Path) -> None:
        """Nothing runs yet."""
        self._argv = [sys.executable, "-m", "ullage", "reconcile", str(plan), "--state", str(state), "--engine", "emulated"]
        self._argv += ["--watch", "--interval", "1s", "--json"]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._remembered = state / "reconcile.json"
        self._started_ns = 0
        self.lives: list[LoopLife] = []
        # processes that ended without being told to
        self.lost = 0

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C reaches it through us."""
        with self._log.open("ab") as output:
            self._started_ns = time_ns()
            self._process = subprocess.Popen(self._argv, stdout=output, stderr=output, start_new_session=True)
        self.lives.append(LoopLife(monotonic()))

    def kill_and_start(self) -> None:
        """As the OOM killer does it, and a service manager after it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def works(self) -> bool:
        """It has done a pass since it was started."""
        try:
            return self._remembered.stat().st_mtime_ns > self._started_ns
        except FileNotFoundError:
            return False

    def look(self) -> None:
        """Read its descriptors and its memory; start it again where it has ended by itself."""
        assert self._process is not None
        if self._process.poll() is not None:
            self.lost += 1
            self.start()
            return
        life = self.lives[-1]
        age_s = monotonic() - life.began_s
        if age_s < _SETTLED_S:
            return
        try:
            now = _held_by(self._process.pid)
        except (OSError, StopIteration):
            return
        life.watched_s = age_s
        life.descriptors.append(now[0])
        life.resident_mib.append(now[1])

    def stop(self) -> None:
        """Tell it to end, and make it end."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _held_by(pid: int) -> tuple[int, float]:
    """Open descriptors, and resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    resident_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return len(os.listdir(f"/proc/{pid}/fd")), resident_kib / _KIB_PER_MIB  # noqa: PTH208 - numbers, not paths
