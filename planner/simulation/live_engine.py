"""An engine during a simulation: its core, the steps in flight and what it used so far."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from planner.simulation.core import EngineCore
from planner.simulation.engine_steps import Array, Step, StepResult, seconds, seconds_each
from planner.simulation.gpu_usage import per
from planner.simulation.sharing import SharedCompute
from planner.simulation.simulation_input import SimulatedEngine
from planner.simulation.traffic_metrics import EngineUse
from profiles.latency.steptime import StepTime

# Multipliers that are drawn at a time, at least.
_DRAWN_AT_ONCE = 256
_ONE: Array = np.empty(1)


class StepSpread:
    """The multipliers of an engine's steps, one after the other: drawn from its measured residuals, or one quantile of them for all.

    Its generator is its own, seeded by the run's seed and the engine's name, so that nothing another engine does changes its draws.
    """

    __slots__ = ("_at", "_generator", "_held", "_levels", "_values")

    def __init__(self, step_time: StepTime, name: str, seed: int, step_quantile: float | None) -> None:
        """step_quantile None draws."""
        self._at = 0
        self._held: Array = np.empty(0)
        self._levels = [level for level, _ in step_time.residual_quantiles]
        self._values = [value for _, value in step_time.residual_quantiles]
        self._generator: np.random.Generator | None = None
        if step_quantile is not None and self._values:
            self._levels, self._values = [0.0], [step_time.quantile(step_quantile)]
        elif self._values:
            self._generator = np.random.default_rng(int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()))

    def ahead(self, count: int) -> Array:
        """The multipliers of the next so many steps."""
        missing = self._at + count - len(self._held)
        if missing > 0:
            self._held = np.concatenate((self._held[self._at :], self._fresh(max(missing, _DRAWN_AT_ONCE))))
            self._at = 0
        return self._held[self._at : self._at + count]

    def spend(self, count: int) -> None:
        """Let so many steps be over."""
        if self._generator is not None:
            self._at += count

    def _fresh(self, count: int) -> Array:
        if self._generator is None:
            return np.full(count, self._values[0] if self._values else 1.0)
        # linear between the stated quantiles and constant beyond, as StepTime.quantile
        return np.interp(self._generator.random(count), self._levels, self._values)


class LiveEngine:
    """An engine that begins steps, as many at once as are bound to be alike, and keeps account of them when they end."""

    __slots__ = ("_at_once", "_busy_s", "_ends_s", "_kv_block_s", "_kv_peak_blocks", "_spread", "_started_s", "_step", "core", "spec")

    def __init__(self, spec: SimulatedEngine, spread: StepSpread, *, one_by_one: bool) -> None:
        """one_by_one begins every step by itself."""
        self.spec = spec
        self.core = EngineCore(spec.config)
        self._spread = spread
        self._at_once = not one_by_one
        self._step: Step | None = None
        # Seconds of work after which each of the steps in flight ends; of one alone nobody asks.
        self._ends_s: Array = _ONE
        self._started_s = 0.0
        self._busy_s = 0.0
        self._kv_block_s = 0.0
        self._kv_peak_blocks = 0

    @property
    def idle(self) -> bool:
        """Whether no step is in flight."""
        return self._step is None

    def begin(self, now_s: float) -> float | None:
        """Begin what comes next; returns the seconds of work, or None when there is nothing to do."""
        step = self._step = self.core.schedule()
        if step is None:
            return None
        self._started_s = now_s
        step_time = self.spec.step_time
        count = self.core.steps_alike() if self._at_once else 1
        spread = self._spread.ahead(count)
        if count == 1:
            self._ends_s = _ONE
            return seconds(step_time, step) * float(spread[0])
        self._ends_s = np.cumsum(seconds_each(step_time, step, count) * spread)
        return float(self._ends_s[-1])

    def cut(self, attained_s: float) -> float | None:
        """Let the step that runs after so many seconds of work be the last in flight; returns all work until then, None if it is already.

        A step that ends at this very moment counts as running.
        """
        count = int(np.searchsorted(self._ends_s, attained_s)) + 1
        if count >= len(self._ends_s):
            return None
        self._ends_s = self._ends_s[:count]
        return float(self._ends_s[-1])

    @property
    def may_be_cut(self) -> bool:
        """Whether several steps are in flight and the next request could be admitted before the last of them."""
        return len(self._ends_s) > 1 and self.core.admits_next

    def end(self, now_s: float, compute: SharedCompute, number: int) -> StepResult:
        """End what is in flight; `compute`, where the engine has this number, is about to end it too."""
        step = self._step
        if step is None:
            raise RuntimeError(f"engine {self.spec.name} ended a step it never began")
        elapsed_s = now_s - self._started_s
        blocks = self.core.used_blocks
        self._busy_s += elapsed_s
        # The blocks of a step are held throughout, and an engine without a step holds none.
        self._kv_block_s += blocks * elapsed_s
        count = len(self._ends_s)
        if count > 1:
            taken = self.core.blocks_taken(count)
            if taken:
                since_s = compute.times_s(number, self._ends_s[np.array(taken) - 1])
                self._kv_block_s += float((now_s - since_s).sum())
                blocks += len(taken)
        self._kv_peak_blocks = max(self._kv_peak_blocks, blocks)
        self._spread.spend(count)
        return self.core.finish(step, count)

    def use(self, end_s: float) -> EngineUse:
        """What it used from 0 to end_s."""
        counters = self.core.counters
        usable = self.spec.config.usable_blocks
        computed_tokens = counters.generation_tokens + counters.prompt_tokens - counters.cached_prompt_tokens
        return EngineUse(
            replica=self.spec.name,
            busy_fraction=per(self._busy_s, end_s),
            kv_mean_fraction=per(self._kv_block_s / usable, end_s),
            kv_peak_fraction=self._kv_peak_blocks / usable,
            tokens_per_s=per(computed_tokens, end_s),
            preemptions=counters.preemptions,
        )
