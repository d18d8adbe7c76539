"""Live measurement of engines into the store: each point is kept as it ends, and one that is kept is not measured again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import aiohttp

from executor.measure.load import REQUEST_LIMIT_S, ClientLoad
from executor.measure.server import Server, look
from executor.measure.stops import LoadMeans, Stops
from executor.measure.sweep import OnSweepProgress, SweepPlan, sweep
from profiles.catalogue import UnknownNameError, builtin
from profiles.sources.engine_metrics import parse
from profiles.sources.source import Context
from profiles.store.canonical import canonical
from profiles.store.checks import Finding, check
from profiles.store.measurements import LatencyPoint, Measurements, StartPoint, preferred
from profiles.store.store_folder import read_store, write

# What the points say of where they come from.
SOURCE = "ullage profile measure"
# A short and a usual prompt, and the usual number of clients up to where most engines are full.
INPUT_TOKENS = (128, 1024)
OUTPUT_TOKENS = (128,)
CONCURRENCY = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class EngineAsked:
    """A live server and what it does not tell itself. date is the day of the measurement, YYYY-MM-DD."""

    url: str
    model: str
    gpu: str
    date: str
    served_name: str | None = None
    mig_profile: str | None = None
    tensor_parallel_size: int = 1
    quantization: str | None = None


@dataclass(frozen=True, slots=True)
class SweepAsked:
    """What to measure and when to stop; empty ones take the usual, of lengths those that fit the server. again: also what the store has.

    total_s bounds all loads together. seed makes the prompts, and must be another one each time.
    """

    stops: Stops
    total_s: float
    seed: int
    input_tokens: tuple[int, ...] = ()
    output_tokens: tuple[int, ...] = ()
    concurrency: tuple[int, ...] = ()
    request_limit_s: float = REQUEST_LIMIT_S
    again: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sweep added: the server's model and version, points of this run, how many were known before, why lengths ended early."""

    model: str
    gpu: str
    engine_version: str
    max_model_len: int
    points: tuple[LatencyPoint, ...]
    known: int
    stopped: tuple[str, ...]
    findings: tuple[Finding, ...]


def measure(engine: EngineAsked, asked: SweepAsked, store: Path, on_progress: OnSweepProgress) -> Measured:
    """Sweep a live server and keep its points in the store.

    Raises ValueError for loads the server cannot take, MeasureError for what keeps it from being measured, StoreError for a store that
    cannot be written; points that were kept until then stay.
    """
    known = read_store(store) if store.exists() else Measurements()
    return asyncio.run(_measure(engine, asked, store, known, on_progress))


async def _measure(engine: EngineAsked, asked: SweepAsked, store: Path, before: Measurements, on_progress: OnSweepProgress) -> Measured:
    async with aiohttp.ClientSession() as session:
        server = await look(session, engine.url, engine.model, engine.served_name, same_model)
        start = start_of(engine, server)
        loads = _loads(asked, server)
        fitting = tuple(load for load in loads if fits_pool(load, start))
        known = {} if asked.again else _known(canonical(before, builtin()), start)
        keep_points(store, Measurements(starts=(start,)))
        kept: list[LatencyPoint] = []

        def keep(found: LoadMeans) -> None:
            kept.extend(keep_points(store, Measurements(latency=(point_of(start, found),))).latency)

        plan = SweepPlan(fitting, known, asked.stops, asked.total_s, asked.seed, asked.request_limit_s)
        end = await sweep(session, server, plan, keep, on_progress)
    return Measured(
        model=start.model,
        gpu=start.gpu,
        engine_version=server.engine_version,
        max_model_len=server.max_model_len,
        points=tuple(kept),
        known=len(end.known),
        stopped=(*end.stopped, *_too_large(loads, fitting, start)),
        findings=check(Measurements(latency=tuple(kept)), builtin()),
    )


def same_model(name: str, other: str) -> bool:
    """Whether both are names or aliases of one model of the catalogue."""
    try:
        return builtin().model(name) is builtin().model(other)
    except UnknownNameError:
        return False


def start_of(engine: EngineAsked, server: Server) -> StartPoint:
    """The engine as its page of metrics and its list of models describe it, under the catalogue's names."""
    context = Context(
        model=engine.model,
        gpu=engine.gpu,
        mig_profile=engine.mig_profile,
        tensor_parallel_size=engine.tensor_parallel_size,
        quantization=engine.quantization,
        date=engine.date,
        engine_version=server.engine_version,
    )
    starts = parse(f"{server.target.url}/metrics", server.metrics.encode(), context).starts
    if len(starts) != 1:
        raise ValueError(
            f"{server.target.url}/metrics: {len(starts)} engines with different KV pools behind one server; measure one engine"
        )
    described = replace(starts[0], max_model_len=server.max_model_len, provenance=replace(starts[0].provenance, source=SOURCE))
    return canonical(Measurements(starts=(described,)), builtin()).starts[0]


def point_of(start: StartPoint, found: LoadMeans) -> LatencyPoint:
    """The means of a load as a point of that engine."""
    return LatencyPoint(
        model=start.model,
        gpu=start.gpu,
        mig_profile=start.mig_profile,
        tensor_parallel_size=start.tensor_parallel_size,
        quantization=start.quantization,
        kv_cache_dtype=start.kv_cache_dtype,
        input_tokens=found.load.input_tokens,
        output_tokens=found.load.output_tokens,
        concurrency=found.load.concurrency,
        rate_rps=found.rate_rps,
        ttft_s=found.ttft_s,
        tpot_s=found.tpot_s,
        request_s=found.request_s,
        requests=found.requests,
        provenance=start.provenance,
    )


def keep_points(store: Path, found: Measurements) -> Measurements:
    """Add points to the store, under the catalogue's names; what was added. The store is read anew: somebody may have changed it."""
    named = canonical(found, builtin())
    write(store, (read_store(store) if store.exists() else Measurements()) + named)
    return named


def fits_pool(load: ClientLoad, start: StartPoint) -> bool:
    """Whether the KV cache holds all requests of a load at their ends, as far as the engine tells its size."""
    return start.kv_tokens is None or load.concurrency * (load.input_tokens + load.output_tokens) <= start.kv_tokens


def _loads(asked: SweepAsked, server: Server) -> tuple[ClientLoad, ...]:
    lengths = list(product(asked.input_tokens or INPUT_TOKENS, asked.output_tokens or OUTPUT_TOKENS))
    allowed = [(inputs, outputs) for inputs, outputs in lengths if inputs + outputs <= server.max_model_len]
    explicit = bool(asked.input_tokens or asked.output_tokens)
    if not allowed or (explicit and len(allowed) < len(lengths)):
        longest = max(lengths, key=sum)
        raise ValueError(
            f"{longest[0]} + {longest[1]} tokens are more than the server's max_model_len {server.max_model_len}; "
            "give shorter --input-tokens or --output-tokens"
        )
    return tuple(
        ClientLoad(inputs, outputs, clients) for inputs, outputs in allowed for clients in sorted(set(asked.concurrency or CONCURRENCY))
    )


def _too_large(loads: Sequence[ClientLoad], fitting: Sequence[ClientLoad], start: StartPoint) -> list[str]:
    return [f"{load}: left out, the KV cache holds {start.kv_tokens} tokens" for load in loads if load not in fitting]


def _known(store: Measurements, start: StartPoint) -> dict[ClientLoad, LoadMeans]:
    """Loads of this engine that this verb has measured before."""
    points: dict[ClientLoad, list[LatencyPoint]] = {}
    for point in store.latency:
        if _same_engine(point, start) and point.concurrency is not None:
            points.setdefault(ClientLoad(point.input_tokens, point.output_tokens, point.concurrency), []).append(point)
    return {load: known for load, same in points.items() if (known := _means(load, preferred(same))) is not None}


def _same_engine(point: LatencyPoint, start: StartPoint) -> bool:
    here, there = point.provenance, start.provenance
    names = ("model", "gpu", "mig_profile", "tensor_parallel_size", "pipeline_parallel_size", "quantization", "kv_cache_dtype")
    return (here.source, here.engine, here.engine_version) == (SOURCE, there.engine, there.engine_version) and all(
        getattr(point, name) == getattr(start, name) for name in names
    )


def _means(load: ClientLoad, point: LatencyPoint | None) -> LoadMeans | None:
    if point is None or point.rate_rps is None or point.ttft_s is None or point.request_s is None:
        return None
    return LoadMeans(load, point.requests or 1, point.rate_rps, point.ttft_s, point.tpot_s, point.request_s)
