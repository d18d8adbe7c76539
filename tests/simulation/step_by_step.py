"""The simulation once more, plainly: an event for every step, neighbours by the work that is left to each. Shares the rules of the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.simulation import EngineCore, EngineRequest
from planner.simulation.engine_steps import Step, seconds
from planner.simulation.live_engine import StepSpread
from planner.simulation.routing import SmoothWeightedRoundRobin
from planner.simulation.simulation_input import Routes, SimulatedEngine, SimulatedRequest


@dataclass
class PlainEngine:
    core: EngineCore
    spread: StepSpread
    spec: SimulatedEngine
    step: Step | None = None
    left_s: float = 0.0
    busy_s: float = 0.0
    kv_block_s: float = 0.0
    kv_peak_blocks: int = 0

    def begin(self) -> None:
        self.step = self.core.schedule()
        if self.step is not None:
            self.left_s = seconds(self.spec.step_time, self.step) * float(self.spread.ahead(1)[0])
            self.kv_peak_blocks = max(self.kv_peak_blocks, self.core.used_blocks)


@dataclass
class PlainRun:
    engines: list[PlainEngine]
    first_s: dict[int, float] = field(default_factory=dict)
    last_s: dict[int, float] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    busy_s: dict[str, float] = field(default_factory=dict)
    end_s: float = 0.0


def run_plainly(
    engines: Sequence[SimulatedEngine],
    requests: Sequence[SimulatedRequest],
    routes: Routes,
    *,
    seed: int,
    step_quantile: float | None,
    interference_factor: float,
) -> PlainRun:
    """Routes do not look at the engines, so that every unit of compute can run by itself."""
    spreads = [StepSpread(engine.step_time, engine.name, seed, step_quantile) for engine in engines]
    run = PlainRun([PlainEngine(EngineCore(spec.config), spread, spec) for spec, spread in zip(engines, spreads, strict=True)])
    backends = {name: SmoothWeightedRoundRobin(weights) for name, weights in routes.items()}
    asked: dict[str, list[tuple[float, int]]] = {engine.name: [] for engine in engines}
    for arrival_s, index in sorted((request.arrival_s, index) for index, request in enumerate(requests)):
        asked[backends[requests[index].served_name].next()].append((arrival_s, index))
    for key in dict.fromkeys(engine.gpu_key for engine in engines):
        here = [engine for engine in run.engines if engine.spec.gpu_key == key]
        coming = sorted((arrival_s, index, number) for number, engine in enumerate(here) for arrival_s, index in asked[engine.spec.name])
        _run_compute(run, key, here, coming, requests, interference_factor)
    run.end_s = max([run.end_s, *(request.arrival_s for request in requests)])
    return run


def _run_compute(
    run: PlainRun,
    key: str,
    here: list[PlainEngine],
    coming: list[tuple[float, int, int]],
    requests: Sequence[SimulatedRequest],
    interference_factor: float,
) -> None:
    now_s = busy_s = 0.0
    while True:
        active = [engine for engine in here if engine.step is not None]
        slowdown = 1.0 if len(active) == 1 else len(active) * interference_factor
        ends_s = min((now_s + engine.left_s * slowdown for engine in active), default=None)
        # at the same instant arrivals go first
        arrives = bool(coming) and (ends_s is None or coming[0][0] <= ends_s)
        if not arrives and ends_s is None:
            break
        next_s = coming[0][0] if arrives or ends_s is None else ends_s
        ending = None if arrives else min(active, key=lambda engine: engine.left_s)
        done_s = ending.left_s if ending is not None else (next_s - now_s) / slowdown if active else 0.0
        for engine in active:
            engine.left_s = max(0.0, engine.left_s - done_s)
            engine.busy_s += next_s - now_s
            engine.kv_block_s += engine.core.used_blocks * (next_s - now_s)
        busy_s += next_s - now_s if active else 0.0
        now_s = next_s
        if ending is not None:
            _end(run, ending, now_s)
        else:
            _arrive(run, here, coming.pop(0), requests)
    run.busy_s[key] = busy_s
    run.end_s = max(run.end_s, now_s)


def _end(run: PlainRun, engine: PlainEngine, now_s: float) -> None:
    assert engine.step is not None
    engine.spread.spend(1)
    result = engine.core.finish(engine.step)
    run.first_s |= dict.fromkeys(map(int, result.first), now_s)
    run.last_s |= dict.fromkeys(map(int, result.ended), now_s)
    engine.begin()


def _arrive(run: PlainRun, here: list[PlainEngine], item: tuple[float, int, int], requests: Sequence[SimulatedRequest]) -> None:
    _, index, number = item
    request, engine = requests[index], here[number]
    refused = engine.core.add(EngineRequest(str(index), request.input_tokens, request.output_tokens, request.cached_prefix_tokens))
    if refused is not None:
        run.errors[index] = refused.reason.value
    elif engine.step is None:
        engine.begin()
