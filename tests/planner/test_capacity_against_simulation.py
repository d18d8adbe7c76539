"""The closed-form forecast against the step-level simulation: rarely too optimistic, never absurdly cautious.

The simulation knows nothing of the forecast: it schedules every step, draws its time from the residual quantiles and, for neighbours, hands
out equal slices. A share below one is simulated as a constant slowdown (the guarantee), half a GPU also beside a busy neighbour.
"""

import math
import random
from dataclasses import dataclass
from functools import cache
from statistics import median

import pytest

from planner.simulation.inputs import SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.metrics import quantile
from planner.simulation.requests import EngineConfig
from planner.simulation.simulate import simulate
from profiles.capacity import RequestMix, Slo, capacity_rps, forecast
from profiles.catalogue import builtin
from profiles.kv import kv_blocks, kv_bytes_for_tokens, min_kv_bytes
from profiles.mix import Length
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.steptime import StepTime, step_time

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
LONG = EngineSettings(max_model_len=131_072, max_num_batched_tokens=8192)
SHARES = (1.0, 1 / 2, 1 / 3)
# A load set by a usual SLO, and one set by what the engine can bear at all.
SLO = Slo(ttft_s=1.0, tpot_s=0.1)
UNBOUNDED = Slo(ttft_s=1e9, tpot_s=1e9)
REQUESTS = 300


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

    def requests(self, served_name: str, draw: random.Random) -> list[SimulatedRequest]:
        arrival_s, requests = 0.0, []
        inputs = Length.fitted(self.mix.input_tokens, self.mix.input_p99_tokens)
        outputs = Length.fitted(self.mix.output_tokens, self.mix.output_p99_tokens)
        for _ in range(REQUESTS):
            arrival_s += self.interval_s(draw)
            input_tokens = min(max(1, round(inputs.quantile(draw.gauss(0, 1)))), self.settings.max_model_len - 2)
            output_tokens = max(1, min(round(outputs.quantile(draw.gauss(0, 1))), self.settings.max_model_len - input_tokens))
            cached = int(input_tokens * self.mix.prefix_hit_fraction)
            requests.append(SimulatedRequest(served_name, served_name, arrival_s, input_tokens, output_tokens, cached))
        return requests

    def interval_s(self, draw: random.Random) -> float:
        """Time between arrivals: exponential, or a mixture of a short and a long one with the squared variation that was asked for.

        Both parts of the mixture take half of the time (balanced means); a renewal stream's dispersion is its squared variation.
        """
        variation = self.mix.burstiness
        short = (1 + math.sqrt((variation - 1) / (variation + 1))) / 2
        part = short if draw.random() < short else 1 - short
        return draw.expovariate(2 * part * self.rate_rps)


def points() -> list[Point]:
    found: list[Point] = []
    for model, size in MODELS.items():
        settings = EngineSettings(tensor_parallel_size=size)
        for name, mix in MIXES.items():
            shares = SHARES if size == 1 and name in {"chat", "long prompts", "short answers"} else (1.0,)
            for share_fraction in shares:
                found += loads(f"{model} {name}", model, settings, mix, share_fraction, SLO)
    mooncake = Slo(ttft_s=30.0, tpot_s=0.5)
    return found + loads("meta-llama/Llama-3.1-8B Mooncake", "meta-llama/Llama-3.1-8B", LONG, MOONCAKE, 1.0, mooncake)


def loads(label: str, model: str, settings: EngineSettings, mix: RequestMix, share_fraction: float, slo: Slo) -> list[Point]:
    architecture = builtin().model(model)
    step = step_time(architecture, builtin().gpu("H100-SXM-80GB"), settings)
    limit_rps = capacity_rps(step, mix, UNBOUNDED, share_fraction, settings)
    at_slo_rps = capacity_rps(step, mix, slo, share_fraction, settings)
    rates = {"at the SLO": at_slo_rps, "5 %": 0.05 * limit_rps, "50 %": 0.5 * limit_rps}
    return [
        Point(f"{label} share {share_fraction:.2f} {load}", architecture, settings, step, mix, share_fraction, rate_rps)
        for load, rate_rps in rates.items()
        if rate_rps > 0
    ]


def simulated(point: Point, neighbours: int) -> dict[str, float]:
    """TTFT and TPOT quantiles of the first engine; neighbours 0 slows it down by its share instead."""
    draw = random.Random(f"{point.name}{neighbours}")
    load = forecast(point.step, point.mix, point.rate_rps, point.share_fraction, point.settings)
    assert load is not None
    step = point.step if neighbours else point.step.slower(1 / point.share_fraction)
    names = [f"engine{index}" for index in range(neighbours + 1)]
    result = simulate(
        [point.engine(name, step, load.kv_tokens_p99) for name in names],
        [SimulatedGpu("gpu", (("gpu", 1.0),))],
        [request for name in names for request in point.requests(name, draw)],
        {name: ((name, 1),) for name in names},
        draw.random,
    )
    records = [record for record in result.records if record.served_name == names[0]]
    ttft = sorted(record.ttft_s for record in records if record.ttft_s is not None)
    tpot = sorted(record.tpot_s for record in records if record.tpot_s is not None)
    assert len(ttft) == REQUESTS
    return {
        "TTFT p95": quantile(ttft, 950),
        "TTFT p99": quantile(ttft, 990),
        "TPOT p95": quantile(tpot, 950),
        "TPOT p99": quantile(tpot, 990),
    }


def forecast_values(point: Point) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, probability in {"p95": 0.95, "p99": 0.99}.items():
        load = forecast(point.step, point.mix, point.rate_rps, point.share_fraction, point.settings, probability)
        assert load is not None
        values |= {f"TTFT {name}": load.ttft_s, f"TPOT {name}": load.tpot_s}
    return values


@cache
def ratios() -> dict[str, list[float]]:
    """Forecast over simulation, per measure: every point at its guaranteed share, and those of half a GPU beside a busy neighbour."""
    found: dict[str, list[float]] = {}
    for point in points():
        for neighbours in (0, 1) if point.share_fraction == 1 / 2 else (0,):
            measured = simulated(point, neighbours)
            for measure, value in forecast_values(point).items():
                found.setdefault(measure, []).append(value / measured[measure])
    return found


@pytest.mark.parametrize("measure", ["TTFT p95", "TTFT p99", "TPOT p95", "TPOT p99"])
def test_the_forecast_is_safe_and_not_absurdly_cautious(measure: str) -> None:
    values = ratios()[measure]
    assert len(values) >= 80
    assert sum(value >= 1 for value in values) >= 0.95 * len(values)
    assert median(values) <= 2.0
