"""Two live engines on one GPU, measured alone and together into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import aiohttp

from executor.measure.load import REQUEST_LIMIT_S, MeasureError
from executor.measure.pair import Cell, PairPhase, PairPlan, Side, measure_pair
from executor.measure.server import Server, look
from executor.measure.sweep import OnSweepProgress
from profiles.catalogue import UnknownNameError, builtin
from profiles.gpu_types import GpuType
from profiles.latency.interference import measured_factor
from profiles.models import Architecture
from profiles.store.canonical import canonical
from profiles.store.measurements import Measurements, PairPoint, PairSharing, PairSide, Provenance
from profiles.store.plausible import MeasurementError
from profiles.store.store_folder import read_store
from ullage.profiling.measure import SOURCE, keep_points, same_model

# Longer than this nobody keeps two engines free for.
MOST_PAIR_S = 600.0
PHASES: tuple[PairPhase, ...] = get_args(PairPhase)
# Engines that take no time from each other do not share a GPU.
_APART_SLOWDOWN = 1.05


@dataclass(frozen=True, slots=True)
class PairAsked:
    """Two engines as (model, URL), their GPU type, how they share it, the day, most seconds for everything and a seed for the prompts.

    prefill_tokens and decode_tokens replace the usual lengths of long prompts and long answers.
    """

    engines: tuple[tuple[str, str], tuple[str, str]]
    gpu: str
    sharing: PairSharing
    date: str
    total_s: float
    seed: int
    prefill_tokens: int | None = None
    decode_tokens: int | None = None
    request_limit_s: float = REQUEST_LIMIT_S


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """What was added, how many cells were known before, and the interference factor of each model in the end (None: cells are missing)."""

    models: tuple[str, str]
    gpu: str
    sharing: PairSharing
    engine_version: str
    cells: tuple[PairPoint, ...]
    known: int
    factors: tuple[float | None, float | None]
    warnings: tuple[str, ...]


def measure_together(asked: PairAsked, store: Path, on_progress: OnSweepProgress) -> MeasuredPair:
    """Measure a pair and keep each cell in the store as it ends; cells that are there are not measured again.

    Raises ValueError for engines that make no pair, MeasureError for what keeps them from being measured, StoreError for the store.
    """
    known = read_store(store) if store.exists() else Measurements()
    return asyncio.run(_measure(asked, store, known, on_progress))


async def _measure(asked: PairAsked, store: Path, before: Measurements, on_progress: OnSweepProgress) -> MeasuredPair:
    (first, first_url), (second, second_url) = asked.engines
    async with aiohttp.ClientSession() as session:
        servers = (
            await look(session, first_url, first, None, same_model),
            await look(session, second_url, second, None, same_model),
        )
        pair = _Pair(asked, _version(servers))
        known = pair.known(canonical(before, builtin()))
        wanted = tuple((one, other) for one in PHASES for other in PHASES if (one, other) not in known)
        kept: list[PairPoint] = []

        def keep(cell: Cell) -> None:
            kept.extend(keep_points(store, Measurements(pairs=(pair.point(cell),))).pairs)

        plan = PairPlan(wanted, asked.total_s, asked.seed, asked.request_limit_s, asked.prefill_tokens, asked.decode_tokens)
        await measure_pair(session, servers, plan, keep, on_progress)
    every = canonical(before, builtin()) + Measurements(pairs=tuple(kept))
    return MeasuredPair(
        models=pair.models,
        gpu=pair.gpu,
        sharing=asked.sharing,
        engine_version=pair.engine_version,
        cells=tuple(kept),
        known=len(known),
        factors=pair.factors(every),
        warnings=tuple(_warnings(kept)),
    )


class _Pair:
    """Two engines under the names of the store."""

    def __init__(self, asked: PairAsked, engine_version: str) -> None:
        self._asked = asked
        self.engine_version = engine_version
        first, second = (_name(model, builtin().model) for model, _ in asked.engines)
        self.models = (first, second)
        self.gpu = _name(asked.gpu, builtin().gpu)
        if first == second:
            raise ValueError(f"--pair: both serve {first}: one model never sits twice on a shared GPU")

    def point(self, cell: Cell) -> PairPoint:
        """A cell as the store keeps it."""
        provenance = Provenance(kind="measured", source=SOURCE, date=self._asked.date, engine_version=self.engine_version)
        try:
            first, second = (_side(model, side) for model, side in zip(self.models, (cell.first, cell.second), strict=True))
        except MeasurementError as error:
            phases = f"{self.models[0]} {cell.first.phase} and {self.models[1]} {cell.second.phase}"
            raise MeasureError(
                f"{phases}: {error}: something else slowed an engine meanwhile; the same command goes on from here"
            ) from None
        return PairPoint(first=first, second=second, gpu=self.gpu, sharing=self._asked.sharing, provenance=provenance)

    def known(self, store: Measurements) -> frozenset[tuple[str, str]]:
        """Phases of both in which this verb has measured them with this version before."""
        points = store.pairs_of(*self.models, self.gpu, self._asked.sharing)
        ours = [point for point in points if (point.provenance.source, point.provenance.engine_version) == (SOURCE, self.engine_version)]
        return frozenset((point.first.phase, point.second.phase) for point in ours)

    def factors(self, every: Measurements) -> tuple[float | None, float | None]:
        """Interference factor of each beside the other, None while phases are missing."""
        one, other = self.models
        sharing, version = self._asked.sharing, self.engine_version
        return (
            measured_factor(every, one, other, self.gpu, sharing, version),
            measured_factor(every, other, one, self.gpu, sharing, version),
        )


def _side(model: str, side: Side) -> PairSide:
    return PairSide(
        model=model,
        phase=side.phase,
        concurrency=side.load.concurrency,
        input_tokens=side.load.input_tokens,
        output_tokens=side.load.output_tokens,
        slowdown=side.slowdown,
        slowdown_p90=side.slowdown_p90,
    )


def _warnings(cells: Sequence[PairPoint]) -> Iterator[str]:
    for point in cells:
        for side in (point.first, point.second):
            if point.sharing == "time_shared" and side.slowdown < _APART_SLOWDOWN:
                yield f"{side.model}, {side.phase}: hardly slower together ({side.slowdown:.2f} times): do the two share a GPU?"


def _version(servers: tuple[Server, Server]) -> str:
    """The one engine version of both; ValueError for engines that make no pair."""
    if servers[0].target.url == servers[1].target.url:
        raise ValueError(f"--pair: {servers[0].target.url} is named twice; give two servers")
    versions = sorted({server.engine_version for server in servers})
    if len(versions) > 1:
        raise ValueError(f"--pair: the servers run {' and '.join(versions)}; measure engines of one version")
    return versions[0]


def _name(name: str, look_up: Callable[[str], Architecture | GpuType]) -> str:
    """The catalogue's name, or the name itself where it knows none."""
    try:
        return look_up(name).name
    except UnknownNameError:
        return name
