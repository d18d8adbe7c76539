"""A sweep over loads against one live engine: lengths by lengths, with rising numbers of clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import aiohttp

from executor.measure.load import REQUEST_LIMIT_S, ClientLoad, LoadRun, MeasureError, Prompts, Timing, run_load
from executor.measure.server import Server, ServerCounters, counters, idle_counters
from executor.measure.stops import LoadMeans, Stops, enough_for, means, why_stop

# A prefix cache that answers more of the prompts than this makes times that nobody else sees.
_MOST_CACHED_FRACTION = 0.02
# How often an engine is asked whether it runs everybody at once; fewer looks than three say nothing.
_LOOK_EVERY_S = 0.5
_LEAST_LOOKS = 3
# some clients are between two requests at any moment; when fewer are there a run has just begun or is about to end
_NEARLY_ALL_FRACTION = 0.75
# A load is not begun when less of the time is left than the one before took.
_AS_LONG_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """How far a sweep is: loads done or ruled out of all there are, answers at the present load, and a line about it."""

    done: int
    total: int
    answers: int
    now: str


@dataclass(frozen=True, slots=True)
class SweepEnd:
    """What a sweep came to: loads measured now, loads known before, and per pair of lengths why it ended early."""

    measured: tuple[LoadMeans, ...]
    known: tuple[ClientLoad, ...]
    stopped: tuple[str, ...]


OnSweepProgress = Callable[[SweepProgress], None]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What to measure and when to stop: loads, those whose means are known, limits in seconds, and a seed for the prompts."""

    loads: tuple[ClientLoad, ...]
    known: Mapping[ClientLoad, LoadMeans]
    stops: Stops
    total_s: float
    seed: int
    request_limit_s: float = REQUEST_LIMIT_S


async def sweep(
    session: aiohttp.ClientSession, server: Server, plan: SweepPlan, keep: Callable[[LoadMeans], None], on_progress: OnSweepProgress
) -> SweepEnd:
    """Measure the loads that are not known; `keep` is called with each as it ends. MeasureError ends the sweep, what was kept stays."""
    return await _Sweep(session, server, plan, keep, on_progress).run()


class _Sweep:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: Server,
        plan: SweepPlan,
        keep: Callable[[LoadMeans], None],
        on_progress: OnSweepProgress,
    ) -> None:
        self._session, self._server, self._plan, self._keep, self._on_progress = session, server, plan, keep, on_progress
        self._prompts = Prompts(plan.seed)
        self._clock = asyncio.get_running_loop().time
        self._measured: list[LoadMeans] = []
        self._stopped: list[str] = []
        self._done = 0

    async def run(self) -> SweepEnd:
        deadline_s = self._clock() + self._plan.total_s
        loads = sorted(set(self._plan.loads))
        for lengths, group in groupby(loads, key=lambda load: (load.input_tokens, load.output_tokens)):
            await self._series(f"{lengths[0]} + {lengths[1]} tokens", list(group), deadline_s)
        return SweepEnd(tuple(self._measured), tuple(load for load in loads if load in self._plan.known), tuple(self._stopped))

    async def _series(self, name: str, loads: Sequence[ClientLoad], deadline_s: float) -> None:
        series: list[LoadMeans] = []
        took_s = 0.0
        for load in loads:
            reason = why_stop(series, self._plan.stops)
            if reason is None and load not in self._plan.known and self._clock() + _AS_LONG_AGAIN * took_s >= deadline_s:
                reason = f"the {self._plan.total_s:g} s are over"
            if reason is None:
                began_s = self._clock()
                found = self._plan.known.get(load) or await self._measure(load, deadline_s)
                took_s = self._clock() - began_s
                reason = None if found else "the engine does not run more clients at once (max_num_seqs, or the KV cache)"
            if reason is not None or found is None:
                self._stopped.append(f"{name}: ended before concurrency {load.concurrency}: {reason}")
                self._done += len(loads) - len(series)
                return
            series.append(found)
            self._done += 1

    async def _measure(self, load: ClientLoad, deadline_s: float) -> LoadMeans | None:
        """Means of a load, kept; None when the engine does not run so many at once."""
        before = await idle_counters(self._session, self._server.target)
        warm = await self._load(load, lambda timings, _: len(timings) >= load.concurrency, "warming up")
        warmed = await idle_counters(self._session, self._server.target)
        looks: list[ServerCounters] = []
        looking = asyncio.create_task(self._watch(looks))
        try:
            left_s = max(deadline_s - self._clock(), 0.0)
            stops = self._plan.stops
            enough = enough_for(load, stops)
            run = await self._load(load, lambda timings, now_s: enough(timings, max(now_s, stops.load_s if now_s > left_s else 0.0)), "")
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        if crowded(looks, load.concurrency):
            return None
        after = await self._check(load, before, len(warm.timings) + len(run.timings))
        found = means(load, run.timings, run.duration_s, after.tpot_since(warmed, load.output_tokens))
        self._measured.append(found)
        self._keep(found)
        return found

    async def _load(self, load: ClientLoad, enough: Callable[[Sequence[Timing], float], bool], what: str) -> LoadRun:
        def told(timings: Sequence[Timing], now_s: float) -> bool:
            self._on_progress(SweepProgress(self._done, len(set(self._plan.loads)), len(timings), f"{load}{f', {what}' if what else ''}"))
            return enough(timings, now_s)

        return await run_load(self._server.target, load, self._prompts, told, limit_s=self._plan.request_limit_s)

    async def _watch(self, looks: list[ServerCounters]) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            looks.append(await counters(self._session, self._server.target))

    async def _check(self, load: ClientLoad, before: ServerCounters, ours: int) -> ServerCounters:
        """The counters at the end; what others' requests or a prefix cache have falsified is refused."""
        after = await idle_counters(self._session, self._server.target)
        where = f"{self._server.target.url}: {load}"
        if after.ended - before.ended > ours:
            others = after.ended - before.ended - ours
            raise MeasureError(f"{where}: {others} requests of others ended meanwhile; measure when nobody else uses the engine")
        if after.cached_tokens - before.cached_tokens > _MOST_CACHED_FRACTION * ours * load.input_tokens:
            raise MeasureError(
                f"{where}: the prefix cache answered {after.cached_tokens - before.cached_tokens} prompt tokens; start again"
            )
        return after


def crowded(looks: Sequence[ServerCounters], concurrency: int) -> bool:
    """Whether clients waited for others to end: whenever nearly all were there some waited, and never all were running."""
    there = [seen for seen in looks if seen.running + seen.waiting >= _NEARLY_ALL_FRACTION * concurrency]
    return len(there) >= _LEAST_LOOKS and all(seen.waiting for seen in there) and max(seen.running for seen in there) < concurrency
