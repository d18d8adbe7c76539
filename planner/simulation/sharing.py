"""Compute shared by neighbours: engines with a step in flight get equal round-robin slices of one GPU."""

from __future__ import annotations


class SharedCompute:
    """One unit of compute (a GPU, a MIG slice or a tensor-parallel block) in the limit of short time slices.

    With n engines active each progresses at 1/n of full speed, at 1/(n * interference_factor) where n > 1: the factor stands for
    context switches and for caches and memory bandwidth lost to neighbours (1.0: none). Shares change at the instant an engine comes or
    goes. Engines are numbers; times and work are seconds, work at full speed.
    """

    __slots__ = ("_interference_factor", "_remaining_s", "_since_s", "busy_s", "next_engine", "next_s")

    def __init__(self, interference_factor: float) -> None:
        """Start idle at time 0. Raises ValueError for a factor below 1."""
        if not interference_factor >= 1.0:
            raise ValueError(f"interference_factor is {interference_factor}; neighbours never speed an engine up, give 1.0 or more")
        self._interference_factor = interference_factor
        self._remaining_s: dict[int, float] = {}
        self._since_s = 0.0
        self.busy_s = 0.0
        self.next_s = 0.0
        self.next_engine: int | None = None

    def start(self, now_s: float, engine: int, work_s: float) -> None:
        """Let an idle engine begin a step."""
        remaining = self._remaining_s
        if remaining:
            done_s = (now_s - self._since_s) / self._slowdown()
            for other in remaining:
                remaining[other] = max(0.0, remaining[other] - done_s)
            self.busy_s += now_s - self._since_s
        self._since_s = now_s
        remaining[engine] = work_s
        self._foresee()

    def end(self) -> int:
        """Let time run to next_s, where the step of next_engine ends; returns that engine. Needs an active engine."""
        engine = self.next_engine
        if engine is None:
            raise RuntimeError("no step is in flight here")
        remaining = self._remaining_s
        # Subtracting the work itself, not elapsed time over n, keeps engines in lockstep exactly in step.
        done_s = remaining.pop(engine)
        for other in remaining:
            remaining[other] -= done_s
        self.busy_s += self.next_s - self._since_s
        self._since_s = self.next_s
        self._foresee()
        return engine

    def _slowdown(self) -> float:
        active = len(self._remaining_s)
        return 1.0 if active == 1 else active * self._interference_factor

    def _foresee(self) -> None:
        remaining = self._remaining_s
        if not remaining:
            self.next_engine = None
            return
        # Ties end in the order in which the steps began: dictionaries keep it.
        self.next_engine = min(remaining, key=remaining.__getitem__)
        self.next_s = self._since_s + remaining[self.next_engine] * self._slowdown()
