"""Compute shared by neighbours: engines with work in flight get equal round-robin slices of one GPU."""

from __future__ import annotations

from collections import deque

import numpy as np

from planner.simulation.engine_steps import Array


class SharedCompute:
    """One unit of compute (a GPU, a MIG slice or a tensor-parallel block) in the limit of short time slices.

    With n engines active each progresses at 1/n of full speed, at 1/(n * interference_factor) where n > 1: the factor stands for
    context switches and for caches and memory bandwidth lost to neighbours (1.0: none). Engines with threads of their own (MPS) take no
    turns: only the factor slows them, and their full speed is that of their threads. Shares change at the instant an engine comes or
    goes. Engines are numbers; times and work are seconds, work at full speed.

    What an engine gets, every active one gets: one clock, the service attained, runs for all of them at the common speed and restarts when
    one is alone to begin. Work ends when the clock is where it was at its start, plus the work.
    """

    __slots__ = (
        "_attained_s",
        "_bends",
        "_ends_at_s",
        "_interference_factor",
        "_own_threads",
        "_since_s",
        "_started_at_s",
        "busy_from_s",
        "busy_s",
        "busy_until_s",
        "next_engine",
        "next_s",
    )

    def __init__(self, interference_factor: float, *, own_threads: bool = False) -> None:
        """Start idle at time 0. Raises ValueError for a factor below 1."""
        if not interference_factor >= 1.0:
            raise ValueError(f"interference_factor is {interference_factor}; neighbours never speed an engine up, give 1.0 or more")
        self._interference_factor = interference_factor
        self._own_threads = own_threads
        # By engine, in attained service.
        self._started_at_s: dict[int, float] = {}
        self._ends_at_s: dict[int, float] = {}
        self._attained_s = 0.0
        self._since_s = 0.0
        # (service attained, time) where the speed may have changed, back to the start of the oldest work in flight.
        self._bends: deque[tuple[float, float]] = deque()
        self.busy_s = 0.0
        # Where each stretch of time without a pause begins and ends; the end of one that still runs is not known yet.
        self.busy_from_s: list[float] = []
        self.busy_until_s: list[float] = []
        self.next_s = 0.0
        self.next_engine: int | None = None

    def start(self, now_s: float, engine: int, work_s: float) -> None:
        """Let an idle engine begin."""
        if self._ends_at_s:
            self._advance(now_s)
        else:
            self._attained_s = 0.0
            self._since_s = now_s
            self._bends.clear()
            if not self.busy_until_s or self.busy_until_s[-1] != now_s:
                self.busy_from_s.append(now_s)
                self.busy_until_s.append(now_s)
        self._bend()
        self._started_at_s[engine] = self._attained_s
        self._ends_at_s[engine] = self._attained_s + work_s
        self._foresee()

    def attained_s(self, now_s: float, engine: int) -> float:
        """Seconds of an active engine's work that are done."""
        self._advance(now_s)
        return self._attained_s - self._started_at_s[engine]

    def shorten(self, engine: int, work_s: float) -> None:
        """Let an active engine have less work than it began with, though no less than is done."""
        self._ends_at_s[engine] = self._started_at_s[engine] + work_s
        self._foresee()

    def times_s(self, engine: int, work_s: Array) -> Array:
        """When so much of its work was done, for the engine that ends next."""
        started_at_s, ends_at_s = self._started_at_s[engine], self._ends_at_s[engine]
        if self._bends[-1][0] <= started_at_s:
            return self.next_s - (ends_at_s - started_at_s - work_s) * self._slowdown()
        attained_s, times_s = [ends_at_s], [self.next_s]
        for at_s, time_s in reversed(self._bends):
            attained_s.append(at_s)
            times_s.append(time_s)
            if at_s <= started_at_s:
                break
        return np.interp(started_at_s + work_s, attained_s[::-1], times_s[::-1])

    def end(self) -> int:
        """Let time run to next_s, where the work of next_engine ends; returns that engine. Needs an active engine."""
        engine = self.next_engine
        if engine is None:
            raise RuntimeError("no step is in flight here")
        self.busy_s += self.next_s - self._since_s
        # The work itself, not elapsed time over n, keeps engines in lockstep exactly in step.
        self._attained_s = self._ends_at_s.pop(engine)
        self._since_s = self.next_s
        del self._started_at_s[engine]
        self._bend()
        if self._started_at_s:
            oldest_s = min(self._started_at_s.values())
            while len(self._bends) > 1 and self._bends[1][0] <= oldest_s:
                self._bends.popleft()
        else:
            self.busy_until_s[-1] = self.next_s
        self._foresee()
        return engine

    def _advance(self, now_s: float) -> None:
        self._attained_s += (now_s - self._since_s) / self._slowdown()
        self.busy_s += now_s - self._since_s
        self._since_s = now_s

    def _bend(self) -> None:
        if not self._bends or self._bends[-1][0] != self._attained_s:
            self._bends.append((self._attained_s, self._since_s))

    def _slowdown(self) -> float:
        active = len(self._ends_at_s)
        if active == 1:
            return 1.0
        return self._interference_factor if self._own_threads else active * self._interference_factor

    def _foresee(self) -> None:
        ends_at_s = self._ends_at_s
        if not ends_at_s:
            self.next_engine = None
            return
        # Ties end in the order in which the work began: dictionaries keep it.
        engine = self.next_engine = min(ends_at_s, key=ends_at_s.__getitem__)
        self.next_s = self._since_s + max(0.0, ends_at_s[engine] - self._attained_s) * self._slowdown()
