"""Sleep and wake: requests stop, memory is given back and claimed again, as with vLLM's sleep mode."""

from __future__ import annotations

import asyncio

from executor.emulator.engine import RealTimeEngine
from executor.emulator.launch import EmulatedEngine
from executor.emulator.metrics import Metrics
from executor.emulator.residence import Residence

_STATE = "vllm:engine_sleep_state"
_IN_FLIGHT = "vllm:sleep_mode_operations_in_flight"


class Sleeper:
    """Puts an engine to sleep and wakes it; one operation at a time."""

    def __init__(
        self, engine: RealTimeEngine, residence: Residence, launch: EmulatedEngine, metrics: Metrics, *, frees: bool, scale: float
    ) -> None:
        """frees: --enable-sleep-mode was given, without it memory stays held; scale multiplies the wake time."""
        self._engine = engine
        self._residence = residence
        self._launch = launch
        self._metrics = metrics
        self._frees = frees
        self._scale = scale
        self._turn = asyncio.Lock()
        self.asleep = False
        self._show("awake")

    async def sleep(self, level: int, mode: str) -> None:
        """Level 1 keeps the weights in host memory, 2 drops them; mode says what happens to requests: abort, wait or keep."""
        async with self._turn:
            started_s = self._begin("sleep")
            await self._engine.pause(wait=mode == "wait")
            if mode == "abort":
                self._engine.abort_all()
            if self._frees:
                self._residence.claim(self._launch.ledger.asleep_mib)
            self.asleep = True
            self._show("weights_offloaded" if level == 1 else "discard_all")
            self._end("sleep", started_s)

    async def wake(self, *, weights_only: bool = False) -> None:
        """Claim the memory again and go on. Raises OutOfMemoryError, and stays asleep, when neighbours have taken it.

        weights_only claims all the same, and stays asleep until it is called without.
        """
        async with self._turn:
            started_s = self._begin("wake")
            try:
                if self.asleep and self._frees:
                    self._residence.claim(self._launch.ledger.total_mib)
                    await asyncio.sleep(self._launch.wake_s * self._scale)
                if not weights_only:
                    self.asleep = False
                    self._engine.resume()
                self._show("awake")
            finally:
                self._end("wake", started_s)

    def _begin(self, operation: str) -> float:
        self._metrics.add(_IN_FLIGHT, label=operation)
        return asyncio.get_running_loop().time()

    def _end(self, operation: str, started_s: float) -> None:
        self._metrics.add(_IN_FLIGHT, -1, operation)
        self._metrics.sleep_operation(operation, asyncio.get_running_loop().time() - started_s)

    def _show(self, state: str) -> None:
        # vLLM's help text: awake = 0 means sleeping, the other two name the level.
        self._metrics.values[_STATE].update({"awake": 0.0, "weights_offloaded": 0.0, "discard_all": 0.0, state: 1.0})
