"""The form of the peers' race, and its two modes as Problems.

Capacity of a model on a GPU type: over batches b up to max_batch with alpha + beta b <= slo_itl_ms and gamma + delta in b <= slo_ttft_ms
the largest b / ((gamma + delta in b + out (alpha + beta b)) / 1000) requests/s, times 0.9. One replica takes weights + 1.5 GiB + KV
cache for max(2, rate out min(slo_itl_ms, 100) / 1000) requests, rate being its own load (2 without sharing); all residents together
95 % of the GPU. Loads over capacities, and 0.1 for each resident beyond the first, sum to 1 at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.instance import entries, positive, whole
from planner.problem import Demand, Pool, Problem, Shape
from profiles.sources.reading import SourceRecord

MICRO = 1_000_000
MIB_PER_GIB = 1024
CAPACITY_FRACTION, MEMORY_FRACTION, EXTRA_RESIDENT_FRACTION = 0.9, 0.95, 0.1
OVERHEAD_GIB = 1.5
LEAST_REQUESTS = 2
SLOWEST_STEP_MS = 100.0
# Compute is counted in millionths of a GPU: the Problem only compares a row with its limit, and thousandths would round too much away.
WHOLE_GPU = 1_000_000
# More residents than memory ever holds: the race sets no limit.
MOST_RESIDENTS = 1000
# A demand is split evenly over its fewest replicas, or over up to so many more.
EXTRA_SPLITS = 3


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU type: $/h, memory that residents may use, and how many there are."""

    name: str
    cost_usd_per_h: float
    usable_mib: int
    count: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model's demand and memory; capacity_rps is per GPU type on which one request at a time meets the SLO."""

    name: str
    rate_rps: float
    weights_gib: float
    request_mib: float
    output_tokens: float
    step_s: float
    capacity_rps: dict[str, float]

    def memory_mib(self, load_rps: float) -> int:
        """Memory of a replica that carries this load; 0 where the load does not count."""
        requests = max(LEAST_REQUESTS, load_rps * self.output_tokens * self.step_s)
        return math.ceil((self.weights_gib + OVERHEAD_GIB) * MIB_PER_GIB + requests * self.request_mib)

    def most_rps(self, gpu: Gpu) -> float:
        """The largest load of a replica that has the GPU to itself, memory included; 0 when it does not fit."""
        room_mib = gpu.usable_mib - (self.weights_gib + OVERHEAD_GIB) * MIB_PER_GIB
        if room_mib < LEAST_REQUESTS * self.request_mib:
            return 0.0
        per_rps_mib = self.output_tokens * self.step_s * self.request_mib
        by_memory_rps = room_mib / per_rps_mib if per_rps_mib else math.inf
        return min(self.capacity_rps.get(gpu.name, 0.0), by_memory_rps)


@dataclass(frozen=True, slots=True)
class Race:
    """GPU types and models."""

    gpus: tuple[Gpu, ...]
    models: tuple[Model, ...]


def read_race(record: SourceRecord) -> Race:
    """The race of a file's record; SourceError names the field that is wrong."""
    table = record.table("gpus")
    gpus = tuple(_gpu(name, table.table(name)) for name in sorted(table.values))
    models = tuple(_model(entry, [gpu.name for gpu in gpus]) for entry in entries(record, "models"))
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise record.error("models", "a name stands there twice")
    return Race(gpus, models)


def _gpu(name: str, record: SourceRecord) -> Gpu:
    usable_mib = math.floor(MEMORY_FRACTION * MIB_PER_GIB * positive(record, "mem_gib"))
    return Gpu(name, record.amount("cost"), usable_mib, whole(record, "count"))


def _model(record: SourceRecord, gpus: Sequence[str]) -> Model:
    input_tokens, output_tokens = record.amount("in"), positive(record, "out")
    itl_ms, ttft_ms = positive(record, "slo_itl_ms"), positive(record, "slo_ttft_ms")
    perf = record.table("perf")
    unknown = sorted(set(perf.values) - set(gpus))
    if unknown:
        raise perf.error(unknown[0], f"not one of the GPU types {', '.join(gpus)}")
    return Model(
        name=record.text("name"),
        rate_rps=record.amount("rate_rps"),
        weights_gib=record.amount("weights_gib"),
        request_mib=(input_tokens + output_tokens) * record.amount("kv_mib_tok"),
        output_tokens=output_tokens,
        step_s=min(itl_ms, SLOWEST_STEP_MS) / 1000,
        capacity_rps={name: _capacity_rps(perf.table(name), input_tokens, output_tokens, itl_ms, ttft_ms) for name in sorted(perf.values)},
    )


def _capacity_rps(perf: SourceRecord, input_tokens: float, output_tokens: float, itl_ms: float, ttft_ms: float) -> float:
    alpha_ms, beta_ms, gamma_ms, delta_ms = (perf.amount(key) for key in ("alpha", "beta", "gamma", "delta"))
    best_rps = 0.0
    for batch in range(1, perf.count("max_batch") + 1):
        step_ms, first_ms = alpha_ms + beta_ms * batch, gamma_ms + delta_ms * input_tokens * batch
        request_ms = first_ms + output_tokens * step_ms
        # both only grow with the batch
        if step_ms > itl_ms or first_ms > ttft_ms:
            break
        if request_ms <= 0:
            raise perf.error("alpha", "a request takes no time at all; alpha and gamma must not all be 0")
        best_rps = max(best_rps, batch / (request_ms / 1000))
    return CAPACITY_FRACTION * best_rps


def exclusive_problem(race: Race) -> Problem:
    """Every replica has a GPU to itself; only two requests' KV cache counts."""
    shapes = [
        Shape(f"{model.name} on {gpu.name}", demand, pool, "exclusive", model.memory_mib(0.0), math.floor(capacity_rps * MICRO))
        for demand, model in enumerate(race.models)
        for pool, gpu in enumerate(race.gpus)
        if (capacity_rps := model.capacity_rps.get(gpu.name, 0.0)) > 0
    ]
    return _problem(race, shapes)


def sharing_problem(race: Race) -> Problem:
    """Replicas share GPUs; the loads that a replica may carry are those of _loads_microrps."""
    shapes = []
    for demand, model in enumerate(race.models):
        for pool, gpu in enumerate(race.gpus):
            for load_microrps in sorted(set(_loads_microrps(race, model, gpu))):
                load_rps = load_microrps / MICRO
                compute = math.ceil(load_rps / model.capacity_rps[gpu.name] * WHOLE_GPU)
                shapes.append(
                    Shape(
                        name=f"{model.name} on {gpu.name}, {load_rps:.4g}/s",
                        demand=demand,
                        pool=pool,
                        mode="time_shared",
                        memory_mib=model.memory_mib(load_rps),
                        capacity_microrps=load_microrps,
                        # an even part of the demand is rounded up to a whole micro-request, which may be that much above the capacity
                        compute_permille=min(WHOLE_GPU, compute),
                        max_residents=MOST_RESIDENTS,
                        active_limit_permille=1000 * MOST_RESIDENTS,
                    )
                )
    return _problem(race, shapes)


def _loads_microrps(race: Race, model: Model, gpu: Gpu) -> Iterator[int]:
    """All of a GPU, an even part of the demand, and what whole GPUs of any type leave over; never more than a GPU carries."""
    most_rps = model.most_rps(gpu)
    wanted_microrps = math.ceil(model.rate_rps * MICRO)
    if math.floor(most_rps * MICRO) <= 0:
        return
    if most_rps < model.rate_rps:
        yield math.floor(most_rps * MICRO)
    fewest = max(1, math.ceil(model.rate_rps / most_rps - 1e-9))
    for parts in range(fewest, fewest + EXTRA_SPLITS + 1):
        yield -(-wanted_microrps // parts)
    for other in race.gpus:
        whole_microrps = math.floor(model.most_rps(other) * MICRO)
        rest_microrps = wanted_microrps % whole_microrps if whole_microrps else 0
        if 0 < rest_microrps <= most_rps * MICRO:
            yield rest_microrps


def _problem(race: Race, shapes: Sequence[Shape]) -> Problem:
    pools = tuple(
        Pool(
            name=gpu.name,
            nodes=gpu.count,
            gpus_per_node=1,
            memory_mib=gpu.usable_mib,
            price_microusd_per_h=round(gpu.cost_usd_per_h * MICRO),
            max_active_residents=MOST_RESIDENTS,
            compute_limit_permille=WHOLE_GPU,
            resident_cost_permille=round(EXTRA_RESIDENT_FRACTION * WHOLE_GPU),
        )
        for gpu in race.gpus
    )
    demands = tuple(Demand(model.name, (math.ceil(model.rate_rps * MICRO),)) for model in race.models)
    return Problem(pools, demands, tuple(shapes))
