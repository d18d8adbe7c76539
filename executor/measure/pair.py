"""Two engines that share a GPU, measured alone and together: how many times longer each takes because of the other.

One phase is prefill (long prompts, answers of one token, judged by the time of a request) or decode (short prompts, long answers, judged
by TPOT, of which the engine's own histogram is the lower limit). Both engines have work all the time while they are measured together.
Only answers count that came while both had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

import aiohttp

from executor.measure.load import ClientLoad, Enough, MeasureError, Prompts, Target, Timing, run_load
from executor.measure.server import Server, counters, idle_counters
from executor.measure.stops import tpot_of
from executor.measure.sweep import OnSweepProgress, SweepProgress

PairPhase = Literal["prefill", "decode"]

# Clients that keep an engine busy without a pause between two answers; decoding wants a usual batch.
PREFILL_CONCURRENCY, DECODE_CONCURRENCY = 4, 8
PREFILL_TOKENS, DECODE_TOKENS = 1024, 128
# a prompt of one block
_SHORT_PROMPT_TOKENS = 16
# Answers of each engine below which a median is a guess, and how far beyond its time a run may go to get them.
_LEAST_ANSWERS, _MOST_OVERTIME = 8, 2.0
# Of the time, what goes by until engines are warm and idle again.
_REST_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Side:
    """One engine in a cell: its phase and load, and its slowdown beside the other: median and 90th percentile."""

    phase: PairPhase
    load: ClientLoad
    slowdown: float
    slowdown_p90: float


@dataclass(frozen=True, slots=True)
class Cell:
    """Two engines together in one pair of phases."""

    first: Side
    second: Side


@dataclass(frozen=True, slots=True)
class PairPlan:
    """What to measure: cells by their phases, most seconds for all, a seed for the prompts. None: the usual lengths."""

    cells: tuple[tuple[PairPhase, PairPhase], ...]
    total_s: float
    seed: int
    request_limit_s: float
    prefill_tokens: int | None = None
    decode_tokens: int | None = None


async def measure_pair(
    session: aiohttp.ClientSession,
    servers: tuple[Server, Server],
    plan: PairPlan,
    keep: Callable[[Cell], None],
    on_progress: OnSweepProgress,
) -> tuple[Cell, ...]:
    """Measure every cell; `keep` is called with each as it ends. MeasureError ends it, what was kept stays."""
    return await _Pair(session, servers, plan, keep, on_progress).run()


class _Pair:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        servers: tuple[Server, Server],
        plan: PairPlan,
        keep: Callable[[Cell], None],
        on_progress: OnSweepProgress,
    ) -> None:
        self._session, self._servers, self._plan, self._keep, self._on_progress = session, servers, plan, keep, on_progress
        self._prompts = Prompts(plan.seed)
        self._clock = asyncio.get_running_loop().time
        self._alone = sorted({(place, cell[place]) for cell in plan.cells for place in (0, 1)})
        self._runs = len(plan.cells) + len(self._alone)
        self._each_s = (1 - _REST_FRACTION) * plan.total_s / max(self._runs, 1)
        self._done = 0

    async def run(self) -> tuple[Cell, ...]:
        self._deadline_s = self._clock() + self._plan.total_s
        alone_s: dict[tuple[int, PairPhase], float] = {}
        for place, phase in self._alone:
            (alone,) = await self._together([(place, phase)])
            alone_s[place, phase] = alone.typical_s
        cells = []
        for phases in self._plan.cells:
            both = await self._together(list(enumerate(phases)))
            sides = [
                self._side(place, phase, alone_s[place, phase], times)
                for (place, phase), times in zip(enumerate(phases), both, strict=True)
            ]
            cells.append(Cell(sides[0], sides[1]))
            self._keep(cells[-1])
        return tuple(cells)

    def _side(self, place: int, phase: PairPhase, alone_s: float, times: _Times) -> Side:
        slowdown = times.typical_s / alone_s
        return Side(phase, self._load(place, phase), slowdown, max(slowdown, times.p90_s / alone_s))

    async def _together(self, sides: Sequence[tuple[int, PairPhase]]) -> list[_Times]:
        """The times of each side while all of them had work."""
        for place, _ in sides:
            await idle_counters(self._session, self._servers[place].target)
        loads = [self._load(place, phase) for place, phase in sides]
        self._on_progress(SweepProgress(self._done, self._runs, 0, " and ".join(self._words(place, phase) for place, phase in sides)))
        limit_s = min(_MOST_OVERTIME * self._each_s, max(self._deadline_s - self._clock(), 0.0))
        window = _Window(loads, min(self._each_s, limit_s), limit_s)
        targets = [self._servers[place].target for place, _ in sides]
        runs = [self._run(target, load, window.side(place)) for place, (target, load) in enumerate(zip(targets, loads, strict=True))]
        running = [asyncio.create_task(run) for run in runs]
        looking = [asyncio.create_task(self._engine_tpot_s(target, load, window)) for target, load in zip(targets, loads, strict=True)]
        try:
            found = await asyncio.gather(*running)
            engines_s = await asyncio.gather(*looking)
        finally:
            for each in (*running, *looking):
                each.cancel()
            await asyncio.gather(*running, *looking, return_exceptions=True)
        self._done += 1
        counted = [window.counted(place, timings, targets[place]) for place, timings in enumerate(found)]
        return [
            _times(*each)
            for each in zip(counted, engines_s, (f"{target.url}: {load}" for target, load in zip(targets, loads, strict=True)), strict=True)
        ]

    async def _engine_tpot_s(self, target: Target, load: ClientLoad, window: _Window) -> float | None:
        """The engine's own mean TPOT of the answers that end in the window."""
        await window.warm.wait()
        before = await counters(self._session, target)
        await window.over.wait()
        return (await counters(self._session, target)).tpot_since(before, load.output_tokens)

    async def _run(self, target: Target, load: ClientLoad, enough: Enough) -> tuple[Timing, ...]:
        return (await run_load(target, load, self._prompts, enough, limit_s=self._plan.request_limit_s)).timings

    def _words(self, place: int, phase: PairPhase) -> str:
        return f"{self._servers[place].target.served_name} {phase}"

    def _load(self, place: int, phase: PairPhase) -> ClientLoad:
        longest = self._servers[place].max_model_len
        if phase == "prefill":
            return ClientLoad(self._plan.prefill_tokens or min(PREFILL_TOKENS, longest // 2), 1, PREFILL_CONCURRENCY)
        prompt = min(_SHORT_PROMPT_TOKENS, longest // 2)
        return ClientLoad(prompt, self._plan.decode_tokens or min(DECODE_TOKENS, longest - prompt), DECODE_CONCURRENCY)


class _Window:
    """The time during which all sides have work: from when each is warm until all have enough answers."""

    def __init__(self, loads: Sequence[ClientLoad], wanted_s: float, limit_s: float) -> None:
        self._loads, self._wanted_s, self._limit_s = loads, wanted_s, limit_s
        self._counts = [0] * len(loads)
        self._ends: list[int] | None = None
        self.warm, self.over = asyncio.Event(), asyncio.Event()

    def side(self, place: int) -> Enough:
        """Ends the run of one side together with the others."""

        def enough(timings: Sequence[Timing], elapsed_s: float) -> bool:
            if self._ends is None:
                self._counts[place] = len(timings)
                least = min(self._extra(other) for other in range(len(self._loads)))
                if least >= 0:
                    self.warm.set()
                if elapsed_s >= (self._wanted_s if least >= _LEAST_ANSWERS else self._limit_s):
                    self._ends = list(self._counts)
                    self.warm.set()
                    self.over.set()
            return self._ends is not None

        return enough

    def counted(self, place: int, timings: tuple[Timing, ...], target: Target) -> tuple[Timing, ...]:
        """What counts of a side: not the first answer of each client, and none that came after the window."""
        if self._ends is None or self._extra(place) < _LEAST_ANSWERS:
            raise MeasureError(
                f"{target.url}: {self._loads[place]}: {max(self._extra(place), 0)} answers in {self._limit_s:.0f} s, at least "
                f"{_LEAST_ANSWERS} are needed; give more --seconds, or shorter --input-tokens and --output-tokens"
            )
        return timings[self._loads[place].concurrency : self._ends[place]]

    def _extra(self, place: int) -> int:
        """Answers beyond the first of each client."""
        return self._counts[place] - self._loads[place].concurrency


@dataclass(frozen=True, slots=True)
class _Times:
    """Of the answers that count: TPOT where they have one, else the time of the whole request."""

    typical_s: float
    p90_s: float


def _times(timings: Sequence[Timing], engine_tpot_s: float | None, where: str) -> _Times:
    requests_s = [timing.request_s for timing in timings if timing.tpot_s is None]
    if requests_s:
        return _Times(median(requests_s), _p90(requests_s))
    tpots_s = [timing.tpot_s for timing in timings if timing.tpot_s is not None]
    return _Times(tpot_of(median(tpots_s), engine_tpot_s, where), _p90(tpots_s))


def _p90(values: Sequence[float]) -> float:
    return quantiles(values, n=10, method="inclusive")[-1]
