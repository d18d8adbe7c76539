"""How much of engines and GPUs is used while something else drives load: sampled from outside, as a monitoring system would.

Tokens come from the engines' counters, KV use from samples of their gauge, busy time from the GPUs that the backend
can read. Where it cannot, busy time is reported as None.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType

from executor.backends.protocol import Backend, EngineLoad
from executor.file_names import file_name
from planner.plan import GpuPlan, Plan, Replica
from planner.simulation.traffic_metrics import GpuUse

# A scrape of one emulated engine costs it about a millisecond; every two seconds that stays below a part in a thousand.
SAMPLE_EVERY_S = 2.0

Loads = dict[str, EngineLoad]


def increase(readings: Sequence[int]) -> int:
    """Growth of a counter over its readings; one that falls was reset by a restart and has counted from zero since.

    >>> increase([10, 15, 3, 4])
    9
    """
    return sum(after - before if after >= before else after for before, after in pairwise(readings))


class UsageWatch:
    """Context manager that samples while its body runs; result() is per used GPU of the plan, from enter to exit."""

    def __init__(self, plan: Plan, backend: Backend) -> None:
        """Nothing is sampled before the body begins; the backend is what runs the plan."""
        self._plan = plan
        self._backend = backend
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="usage-watch", daemon=True)
        self._samples: list[Loads] = []
        self._busy_before_s: dict[tuple[str, int], float] = {}
        self._busy_after_s: dict[tuple[str, int], float] = {}
        self._length_s = 0.0

    def __enter__(self) -> UsageWatch:
        """Begin sampling."""
        self._busy_before_s = self._busy_s()
        self._started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End sampling with one last sample."""
        self._stop.set()
        self._thread.join()
        self._length_s = time.monotonic() - self._started_s
        self._busy_after_s = self._busy_s()

    def result(self) -> tuple[GpuUse, ...]:
        """Use of every GPU of the plan that holds a replica, in the plan's order."""
        replicas = {replica.name: replica for replica in self._plan.desired.replicas}
        return tuple(self._gpu(gpu, [replicas[name] for name in gpu.replicas]) for gpu in self._plan.desired.gpus if gpu.replicas)

    def _gpu(self, gpu: GpuPlan, residents: Sequence[Replica]) -> GpuUse:
        pools_mib = sum(replica.ledger.kv_mib for replica in residents)
        samples = [
            [(sample[item.name].kv_fraction, item.ledger.kv_mib) for item in residents if item.name in sample] for sample in self._samples
        ]
        means = [sum(fraction * kv_mib for fraction, kv_mib in sample) / max(pools_mib, 1) for sample in samples]
        return GpuUse(
            gpu=f"{gpu.node}/gpu{gpu.index}",
            busy_fraction=self._busy_fraction(gpu),
            kv_mean_fraction=sum(means) / len(means) if means else 0.0,
            kv_peak_fraction=max((fraction for sample in samples for fraction, _ in sample), default=0.0),
            tokens_per_s=sum(self._tokens(replica) / len(replica.gpus) for replica in residents) / max(self._length_s, 1e-9),
        )

    def _tokens(self, replica: Replica) -> int:
        seen = [sample[replica.name] for sample in self._samples if replica.name in sample]
        return increase([load.generated_tokens for load in seen]) + increase([load.prompt_tokens for load in seen])

    def _busy_fraction(self, gpu: GpuPlan) -> float | None:
        key = (file_name(gpu.node), gpu.index)
        if key not in self._busy_after_s:
            return None
        return min(1.0, (self._busy_after_s[key] - self._busy_before_s.get(key, 0.0)) / max(self._length_s, 1e-9))

    def _busy_s(self) -> dict[tuple[str, int], float]:
        return {(gpu.node, gpu.index): gpu.busy_s for gpu in self._backend.gpus() if gpu.busy_s is not None}

    def _sample(self) -> None:
        asyncio.run(self._sample_until_stopped())

    async def _sample_until_stopped(self) -> None:
        while True:
            last = self._stop.is_set()
            self._samples.append(await self._loads())
            if last:
                return
            await asyncio.to_thread(self._stop.wait, SAMPLE_EVERY_S)

    async def _loads(self) -> Loads:
        replicas = self._plan.desired.replicas
        found = await asyncio.gather(*(self._backend.ask(replica) for replica in replicas))
        return {replica.name: answer.load for replica, answer in zip(replicas, found, strict=True) if answer.load is not None}
