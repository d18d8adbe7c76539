"""How far the closed-form queueing formulas are from the step-level simulation.

    python -m benchmarks.queueing [--points]

A grid of models, request mixes (Poisson and bursty arrivals, short answers, long prompts, cached prefixes, the lengths of the Mooncake
trace), guaranteed shares and loads. At every point the forecast TTFT and TPOT at p95 are divided by those of 300 simulated requests; a
share below one is simulated as a constant slowdown, half a GPU also beside a busy neighbour. Capacity is the rate that bisection on the
forecast finds for an SLO at p95; it is divided by the largest rate at which 95 % of the simulated requests meet both goals. The simulation
knows nothing of the forecast. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import median

from planner.simulation.engine_requests import EngineConfig
from planner.simulation.offered_load import OfferedLoad, first_requests
from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu
from planner.simulation.traffic_metrics import RequestRecord, meets_slo, quantile
from planner.simulation.virtual_time import simulate
from profiles.catalogue import builtin
from profiles.latency.capacity import RequestMix, Slo, capacity_rps, forecast
from profiles.latency.steptime import StepTime, step_time
from profiles.memory.kv import kv_blocks, kv_bytes_for_tokens, min_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings

MODELS = {
    "Qwen/Qwen3-0.6B": 1,
    "meta-llama/Llama-3.1-8B": 1,
    "Qwen/Qwen3-30B-A3B": 1,
    "Qwen/Qwen3-32B": 2,
    "meta-llama/Llama-3.1-70B": 4,
}
MIXES = {
    "chat": RequestMix(500, 100, 2500, 450),
    "long prompts": RequestMix(3000, 100, 7000, 300),
    "short answers": RequestMix(300, 5, 1200, 12),
    "bursty chat": RequestMix(500, 100, 2500, 450, burstiness=4.0),
    "cached prefixes": RequestMix(2000, 100, 6000, 450, prefix_hit_fraction=0.6),
}
# Lengths of the Mooncake conversation trace.
MOONCAKE = RequestMix(12_000, 350, 85_000, 1500)
_LONG = EngineSettings(max_model_len=131_072, max_num_batched_tokens=8192)
_SHARES = (1.0, 1 / 2, 1 / 3)
# A load set by a usual SLO, and one set by what the engine can bear at all.
SLO = Slo(ttft_s=1.0, tpot_s=0.1)
_UNBOUNDED = Slo(ttft_s=1e9, tpot_s=1e9)
REQUESTS = 300
# Requests of a search for the simulated capacity, and the share of them that must meet both goals.
_GOODPUT_REQUESTS = 600
_ATTAINMENT = 0.95
# The search for the simulated capacity ends at this relative width.
_WIDTH_FRACTION = 0.03


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration and load."""

    name: str
    architecture: Architecture
    settings: EngineSettings
    step: StepTime
    mix: RequestMix
    share_fraction: float
    rate_rps: float

    def engine(self, name: str, step: StepTime, kv_tokens: float) -> SimulatedEngine:
        """Its engine with room for so many tokens, at least one longest request."""
        size_bytes = max(
            kv_bytes_for_tokens(self.architecture, self.settings, math.ceil(kv_tokens)), min_kv_bytes(self.architecture, self.settings)
        )
        config = EngineConfig(
            kv_blocks=kv_blocks(self.architecture, self.settings, size_bytes),
            block_size=self.settings.block_size,
            max_num_seqs=self.settings.max_num_seqs,
            max_num_batched_tokens=self.settings.max_num_batched_tokens,
            max_model_len=self.settings.max_model_len,
        )
        return SimulatedEngine(name, config, step, "gpu", size_bytes >> 20)

    def load(self, served_name: str) -> OfferedLoad:
        """Its mix at its rate."""
        return OfferedLoad(served_name, served_name, self.rate_rps, self.mix, self.settings.max_model_len)


def points() -> list[Point]:
    """The grid: every model and mix, three shares where one GPU is shared, at the SLO's capacity and at 5 and 50 % of the limit."""
    found: list[Point] = []
    for model, size in MODELS.items():
        settings = EngineSettings(tensor_parallel_size=size)
        for name, mix in MIXES.items():
            shares = _SHARES if size == 1 and name in {"chat", "long prompts", "short answers"} else (1.0,)
            for share_fraction in shares:
                found += _loads(f"{model} {name}", model, settings, mix, share_fraction, SLO)
    mooncake = Slo(ttft_s=30.0, tpot_s=0.5)
    return found + _loads("meta-llama/Llama-3.1-8B Mooncake", "meta-llama/Llama-3.1-8B", _LONG, MOONCAKE, 1.0, mooncake)


def _loads(label: str, model: str, settings: EngineSettings, mix: RequestMix, share_fraction: float, slo: Slo) -> list[Point]:
    architecture = builtin().model(model)
    step = step_time(architecture, builtin().gpu("H100-SXM-80GB"), settings)
    limit_rps = capacity_rps(step, mix, _UNBOUNDED, share_fraction, settings)
    at_slo_rps = capacity_rps(step, mix, slo, share_fraction, settings)
    rates = {"at the SLO": at_slo_rps, "5 %": 0.05 * limit_rps, "50 %": 0.5 * limit_rps}
    return [
        Point(f"{label} share {share_fraction:.2f} {load}", architecture, settings, step, mix, share_fraction, rate_rps)
        for load, rate_rps in rates.items()
        if rate_rps > 0
    ]


def simulated(point: Point, neighbours: int) -> dict[str, float]:
    """TTFT and TPOT quantiles of the first engine; neighbours 0 slows it down by its share instead."""
    records = _records(point, neighbours, REQUESTS)
    ttft = sorted(record.ttft_s for record in records if record.ttft_s is not None)
    tpot = sorted(record.tpot_s for record in records if record.tpot_s is not None)
    if len(ttft) != REQUESTS:
        raise ValueError(f"{point.name}: {len(ttft)} of {REQUESTS} requests were answered")
    return {
        "TTFT p95": quantile(ttft, 950),
        "TTFT p99": quantile(ttft, 990),
        "TPOT p95": quantile(tpot, 950),
        "TPOT p99": quantile(tpot, 990),
    }


def _records(point: Point, neighbours: int, count: int) -> list[RequestRecord]:
    # points that differ in name alone draw differently, and a point draws the same at every rate
    seed = int.from_bytes(sha256(f"{point.name}{neighbours}".encode()).digest()[:4])
    load = forecast(point.step, point.mix, point.rate_rps, point.share_fraction, point.settings)
    kv_tokens = point.mix.input_p99_tokens * point.settings.max_num_seqs if load is None else load.kv_tokens_p99
    step = point.step if neighbours else point.step.slower(1 / point.share_fraction)
    names = [f"engine{index}" for index in range(neighbours + 1)]
    result = simulate(
        [point.engine(name, step, kv_tokens) for name in names],
        [SimulatedGpu("gpu", (("gpu", 1.0),))],
        [request for name in names for request in first_requests(point.load(name), count, seed)],
        {name: ((name, 1),) for name in names},
        seed=seed,
    )
    return [record for record in result.records if record.served_name == names[0]]


def forecast_values(point: Point) -> dict[str, float]:
    """The same quantiles by formula."""
    values: dict[str, float] = {}
    for name, probability in {"p95": 0.95, "p99": 0.99}.items():
        load = forecast(point.step, point.mix, point.rate_rps, point.share_fraction, point.settings, probability)
        if load is None:
            raise ValueError(f"{point.name}: no forecast at {point.rate_rps:.3g} requests/s")
        values |= {f"TTFT {name}": load.ttft_s, f"TPOT {name}": load.tpot_s}
    return values


def ratios(told: bool = False) -> dict[str, list[float]]:
    """Forecast over simulation, per measure: every point at its guaranteed share, and those of half a GPU beside a busy neighbour."""
    found: dict[str, list[float]] = {}
    for point in points():
        for neighbours in (0, 1) if point.share_fraction == 1 / 2 else (0,):
            measured, predicted = simulated(point, neighbours), forecast_values(point)
            for measure, value in predicted.items():
                found.setdefault(measure, []).append(value / measured[measure])
            if told:
                shown = "  ".join(f"{name} {predicted[name] / measured[name]:.2f}" for name in ("TTFT p95", "TPOT p95"))
                print(f"{shown}  {point.name}{' beside a neighbour' if neighbours else ''}")
    return found


def capacity_ratios(told: bool = False) -> list[float]:
    """Capacity by formula at p95 over the simulated one, of every mix on a whole GPU and on half of one."""
    found: list[float] = []
    for name, mix in MIXES.items():
        for share_fraction in (1.0, 0.5):
            model = "meta-llama/Llama-3.1-8B"
            architecture, settings = builtin().model(model), EngineSettings()
            step = step_time(architecture, builtin().gpu("H100-SXM-80GB"), settings)
            by_formula_rps = capacity_rps(step, mix, SLO, share_fraction, settings, quantile=_ATTAINMENT)
            point = Point(f"{model} {name} goodput", architecture, settings, step, mix, share_fraction, by_formula_rps)
            found.append(by_formula_rps / _simulated_capacity_rps(point))
            if told:
                print(f"capacity {found[-1]:.2f}  {model} {name} share {share_fraction:.2f}")
    return found


def _simulated_capacity_rps(point: Point) -> float:
    """Largest rate at which the wanted share of requests meets the SLO; seeds do not change with the rate."""
    low_rps, high_rps = 0.0, point.rate_rps
    while _attainment(replace(point, rate_rps=high_rps)) >= _ATTAINMENT:
        low_rps, high_rps = high_rps, high_rps * 1.5
    while high_rps - low_rps > _WIDTH_FRACTION * high_rps:
        middle_rps = (low_rps + high_rps) / 2
        if _attainment(replace(point, rate_rps=middle_rps)) >= _ATTAINMENT:
            low_rps = middle_rps
        else:
            high_rps = middle_rps
    return low_rps


def _attainment(point: Point) -> float:
    records = _records(point, 0, _GOODPUT_REQUESTS)
    return sum(meets_slo(record, SLO.ttft_s, SLO.tpot_s) for record in records) / _GOODPUT_REQUESTS


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest ratio."""
    return {
        "median_ratio": round(median(values), 3),
        "smallest_ratio": round(min(values), 3),
        "largest_ratio": round(max(values), 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queueing", description="Queueing formulas against the simulation.")
    parser.add_argument("--points", action="store_true", help="print every point")
    options = parser.parse_args(arguments)
    found, capacities = ratios(options.points), capacity_ratios(options.points)
    figures: dict[str, object] = {"points": len(found["TTFT p95"])}
    for measure, values in found.items():
        safe_fraction = sum(value >= 1 for value in values) / len(values)
        figures[measure] = {**summary(values), "safe_fraction": round(safe_fraction, 3)}
    # a capacity is on the safe side below the simulated one
    safe_fraction = sum(value <= 1 for value in capacities) / len(capacities)
    figures["capacity"] = {"points": len(capacities), **summary(capacities), "safe_fraction": round(safe_fraction, 3)}
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
