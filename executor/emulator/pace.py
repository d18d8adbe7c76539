"""How fast a step goes on shared devices, and when to look again.

Steps begin at the ideal end of the one before, not when the process woke up: a busy machine delays tokens, but the
delay does not add up. Progress is read from the devices' clocks of GPU seconds, which run at 1/n with n active residents.
"""

from __future__ import annotations

from executor.emulator.residence import Residence

# epoll waits whole milliseconds, rounded up: ending up to half of one early centres the error.
_EARLY_S = 0.0005
# A neighbour that leaves shortens the step in flight; that is noticed within this time. Looking every 2 ms, the length of NVIDIA's time
# slices, doubled the CPU time of a decode step (320 to 650 microseconds) for one step's accuracy per departure.
_SLICE_S = 0.02


class Pace:
    """Progress of one step after another on an engine's devices; times are of the clock that the residence uses."""

    def __init__(self, residence: Residence) -> None:
        """Nothing runs yet."""
        self._residence = residence
        self._anchors: tuple[float, ...] = ()
        self._work_s = 0.0

    def begin(self, work_s: float, now_s: float) -> None:
        """A step of this many GPU seconds begins after a pause: now."""
        self._anchors = tuple(gpu_s for gpu_s, _ in self._residence.clocks(now_s))
        self._work_s = work_s

    def follow(self, work_s: float, now_s: float) -> None:
        """A step begins where the one before should have ended."""
        clocks = self._residence.clocks(now_s)
        late_s = min(gpu_s - anchor for (gpu_s, _), anchor in zip(clocks, self._anchors, strict=True)) - self._work_s
        self._anchors = tuple(gpu_s - late_s for gpu_s, _ in clocks)
        self._work_s = work_s

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until it pays to look again; None when the step is done."""
        longest_s = 0.0
        for (gpu_s, active), anchor in zip(self._residence.clocks(now_s), self._anchors, strict=True):
            left_s = anchor + self._work_s - gpu_s
            if left_s * active > _EARLY_S:
                # All neighbours may leave at once, so the end may come after left_s; closer to it, slices are short enough.
                wait_s = left_s * active if active <= 1 else min(left_s * active, max(left_s, _SLICE_S))
                longest_s = max(longest_s, wait_s)
        return longest_s or None
