"""Generated GPUs for benchmarks.sizing: who lives on them, in which proportion of load, and the fleet that planning sees."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import queueing
from planner.latency_classes import LatencyClass
from planner.spec import Fleet, load_fleet
from planner.spec.workloads import CLASS_DEFAULTS
from profiles.catalogue import builtin
from profiles.latency.capacity import RequestMix, Slo, capacity_rps
from profiles.latency.steptime import step_time
from profiles.memory.ledger import memory_ledger
from profiles.settings import EngineSettings, UnsupportedError

GPUS = ("H100-SXM-80GB", "H100-SXM-80GB", "H100-SXM-80GB", "A100-SXM-80GB", "L40S")
MODELS = (
    "Qwen/Qwen3-0.6B",
    "meta-llama/Llama-3.2-1B",
    "google/gemma-2-2b",
    "meta-llama/Llama-3.2-3B",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.1-8B",
    "google/gemma-2-9b",
    "Qwen/Qwen3-14B",
    "Qwen/Qwen3-32B-FP8",
    "Qwen/Qwen3-30B-A3B",
    "nvidia/Llama-3.1-70B-Instruct-FP8",
)
MIXES = {
    **queueing.MIXES,
    "long answers": RequestMix(300, 800, 1500, 3000),
    "arena": RequestMix(90, 230, 700, 1000),
    "bursty long": RequestMix(2000, 150, 6000, 500, burstiness=3.0),
}
CLASSES: tuple[LatencyClass, ...] = ("interactive", "standard", "standard", "background")
# Residents of one GPU after the other, over and over.
RESIDENTS = (1, 1, 2, 2, 3, 3, 4, 5, 6)
SETTINGS = EngineSettings(max_model_len=8192, max_num_seqs=256)
# Memory of a GPU that residents without KV cache may fill: the rest is for the pools.
_FILLED_FRACTION = 0.85
# Nobody who gets less than this part of the largest share of the load, or fewer requests per second than this alone, is worth a place.
_LEAST_SHARE = 1 / 25
_LEAST_RPS = 0.02
# The question is what a GPU bears: neither cores nor main memory of its node limit it.
_AMPLE_HOST = {"host_cores": 128, "host_memory": "2000GiB"}
# Draws of a resident until the GPU is drawn anew.
_TRIES = 60


@dataclass(frozen=True, slots=True)
class GridResident:
    """A model with what is asked of it; alone_rps is what closed formulas say it bears alone on this GPU type."""

    model: str
    mix_name: str
    latency_class: LatencyClass
    alone_rps: float
    empty_mib: int

    @property
    def mix(self) -> RequestMix:
        """Lengths and bursts of its requests."""
        return MIXES[self.mix_name]


@dataclass(frozen=True, slots=True)
class GridGpu:
    """A GPU type, its residents, and the rate of each at factor 1: parts of what each bears alone that add up to 1."""

    gpu: str
    residents: tuple[GridResident, ...]
    rates_rps: tuple[float, ...]

    def fleet(self, factor: float) -> Fleet:
        """One such GPU with the residents as workloads `w0`, `w1`, ... at a multiple of their rates, at most one replica of each.

        A fleet file declares Poisson arrivals; bursts are what a trace would show.
        """
        written = {
            "schema_version": 1,
            "pools": {"pool": {"gpu": self.gpu, "nodes": 1, "gpus_per_node": 1, "price": "1 USD/h", **_AMPLE_HOST}},
            "models": {
                f"w{index}": {"source": item.model, "max_model_len": SETTINGS.max_model_len, "max_num_seqs": SETTINGS.max_num_seqs}
                for index, item in enumerate(self.residents)
            },
            "workloads": {
                f"w{index}": _workload(f"w{index}", item, rate_rps * factor)
                for index, (item, rate_rps) in enumerate(zip(self.residents, self.rates_rps, strict=True))
            },
        }
        fleet = load_fleet(Path("fleet.yaml"), json.dumps(written), builtin(), read=lambda path: Path(path).read_bytes())
        bursty = []
        for workload, item in zip(fleet.workloads, self.residents, strict=True):
            windows = tuple(window.model_copy(update={"burstiness": item.mix.burstiness}) for window in workload.demand.windows)
            bursty.append(workload.model_copy(update={"demand": workload.demand.model_copy(update={"windows": windows})}))
        return fleet.model_copy(update={"workloads": tuple(bursty)})


def grid(seed: int, count: int, rarest_fraction: float) -> Iterator[GridGpu]:
    """So many GPUs, the same for the same seed; of all requests each resident's are at least rarest_fraction."""
    draw = random.Random(f"sizing {seed}")  # noqa: S311 (a benchmark)
    for index in range(count):
        found = None
        while found is None or min(found.rates_rps) < rarest_fraction * sum(found.rates_rps):
            found = _drawn(draw, RESIDENTS[index % len(RESIDENTS)])
        yield found


def _drawn(draw: random.Random, count: int) -> GridGpu | None:
    gpu = draw.choice(GPUS)
    room_mib = builtin().gpu(gpu).memory_usable_mib * _FILLED_FRACTION
    residents: list[GridResident] = []
    for _ in range(_TRIES):
        item = _resident(draw, gpu)
        if item is None or item.empty_mib > room_mib or item.model in {other.model for other in residents}:
            continue
        room_mib -= item.empty_mib
        residents.append(item)
        if len(residents) == count:
            return _weighted(draw, gpu, residents)
    return None


def _weighted(draw: random.Random, gpu: str, residents: Sequence[GridResident]) -> GridGpu | None:
    """Shares of the load from a flat Dirichlet distribution."""
    parts = [max(draw.gammavariate(1.0, 1.0), 0.05) for _ in residents]
    if min(parts) < _LEAST_SHARE * max(parts):
        return None
    rates = tuple(item.alone_rps * part / sum(parts) for item, part in zip(residents, parts, strict=True))
    return GridGpu(gpu, tuple(residents), rates)


def _resident(draw: random.Random, gpu: str) -> GridResident | None:
    model, mix_name, latency_class = draw.choice(MODELS), draw.choice(list(MIXES)), draw.choice(CLASSES)
    architecture, gpu_type = builtin().model(model), builtin().gpu(gpu)
    try:
        step = step_time(architecture, gpu_type, SETTINGS)
    except UnsupportedError:
        return None
    goals = CLASS_DEFAULTS[latency_class]
    alone_rps = capacity_rps(step, MIXES[mix_name], Slo(goals.ttft_p95_s, goals.tpot_p95_s), 1.0, SETTINGS)
    if alone_rps < _LEAST_RPS:
        return None
    return GridResident(model, mix_name, latency_class, alone_rps, memory_ledger(architecture, gpu_type, SETTINGS, 0).total_mib)


def _workload(name: str, resident: GridResident, rate_rps: float) -> dict[str, Any]:
    mix = resident.mix
    return {
        "model": name,
        "class": resident.latency_class,
        "max_replicas": 1,
        "prefix_hit_fraction": mix.prefix_hit_fraction,
        "demand": {
            # nothing is lost to rounding: a rate of some thousandths is as exact as one of a hundred
            "rate": f"{rate_rps:.9f}/s",
            "input_tokens": {"mean": mix.input_tokens, "p99": mix.input_p99_tokens},
            "output_tokens": {"mean": mix.output_tokens, "p99": mix.output_p99_tokens},
        },
    }
