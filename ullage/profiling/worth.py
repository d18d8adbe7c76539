"""Which measurement that is missing would change a plan's cost most: the value of each, by planning again with either answer.

For every engine the plan rests on, and for those that it nearly took, the fleet is planned twice more: as if measurements had shown the
10th and the 90th percentile of what is predicted. For neighbours whose interference is assumed: as if it were none, and as if it were
three times what is assumed. The difference of the two costs is what the measurement can be worth. Same fleet, same answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from planner.plan import ALL_THREADS, State, is_shared
from planner.problem import MICRO, Solution
from planner.sizing.blueprint import Blueprint, build
from planner.sizing.candidates import Candidate
from planner.sizing.sites import ASSUMED_INTERFERENCE_FACTOR
from planner.spec import Fleet
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.interference import GRID, measured_factor, slowdown_of
from profiles.latency.prediction import LatencyPrediction, PredictedEngine, predict_latency
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, PairSharing, PairSide, Phase, Provenance
from ullage.planning.ask import DEFAULT_ENGINE, NO_LIMITS, ask

# Measurements that are looked into unless the user says how many: two plans each.
QUESTIONS = 8
# An engine that costs up to so many times as much per request as the one taken might have been taken.
_CLOSE = 2.0
# Loads that an answer is given for: a quiet, a usual and a full engine.
_CLIENTS = (1, 8, 32)
# What neighbours may cost each other: nothing but the slices, or three times what is assumed (the stress that `simulate` is judged by).
_LEAST_FACTOR, _MOST_FACTOR = 1.0, 1.0 + 3 * (ASSUMED_INTERFERENCE_FACTOR - 1.0)
_SUPPOSED = "supposed by ullage profile measure --next"


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """What a plan costs, and the requests it leaves unserved."""

    cost_usd_per_h: float
    unserved_rps: float


@dataclass(frozen=True, slots=True)
class Worth:
    """One measurement: what it is of, why it matters, the price if it comes out low (fast) or high (slow), and the command."""

    what: str
    why: str
    low: PlanPrice
    high: PlanPrice
    command: str

    @property
    def swing_usd_per_h(self) -> float:
        """Difference of the costs."""
        return abs(self.high.cost_usd_per_h - self.low.cost_usd_per_h)

    @property
    def swing_rps(self) -> float:
        """Difference of what is unserved."""
        return abs(self.high.unserved_rps - self.low.unserved_rps)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Measurements by their worth, the price of the plan as it is, how many were looked into of how many are missing, and plans made."""

    now: PlanPrice
    worths: tuple[Worth, ...]
    missing: int
    looked_into: int
    plans: int


@dataclass(frozen=True, slots=True)
class _Question:
    what: str
    why: str
    low: Measurements
    high: Measurements
    command: str


def rank(fleet: Fleet, store: str, limit: int = QUESTIONS) -> Ranking:
    """The missing measurements of a fleet's plan, most valuable first: unserved requests before cost, then by name.

    store is the folder named in the commands. At most 2 * limit + 1 plans are made, each with the fixed work of `ullage plan`.
    """
    blueprint, solution = _solved(fleet)
    questions = list(dict.fromkeys(_questions(fleet, blueprint, solution, store)))
    worths = [
        Worth(each.what, each.why, _price(_with(fleet, each.low)), _price(_with(fleet, each.high)), each.command)
        for each in questions[:limit]
    ]
    worths.sort(key=lambda worth: (-worth.swing_rps, -worth.swing_usd_per_h, worth.what))
    return Ranking(_price_of(solution), tuple(worths), len(questions), len(worths), 2 * len(worths) + 1)


def _with(fleet: Fleet, supposed: Measurements) -> Fleet:
    return fleet.model_copy(update={"measurements": fleet.measurements + supposed})


def _price(fleet: Fleet) -> PlanPrice:
    return _price_of(_solved(fleet)[1])


def _solved(fleet: Fleet) -> tuple[Blueprint, Solution]:
    blueprint = build(fleet, State())
    return blueprint, ask(fleet, blueprint, blueprint.problem, DEFAULT_ENGINE, NO_LIMITS).best


def _price_of(solution: Solution) -> PlanPrice:
    return PlanPrice(solution.cost_microusd_per_h / MICRO, sum(solution.unserved_microrps) / MICRO)


def _questions(fleet: Fleet, blueprint: Blueprint, solution: Solution, store: str) -> Iterator[_Question]:
    """What is missing, in order: engines of the plan, neighbours on its GPUs, engines it nearly took."""
    counts = [(pattern.count, [blueprint.candidates[item] for item in pattern.residents]) for pattern in solution.patterns]
    used = [candidate for _, residents in counts for candidate in residents]
    for candidate in sorted(used, key=_key):
        yield from _engine(fleet, candidate, "the plan rests on it", store)
    for _, residents in counts:
        for one, other in combinations(residents, 2):
            if is_shared(one.mode):
                yield from _pair(fleet, (one, other), one.mode, store)
    taken = {_key(candidate) for candidate in used}
    for candidate in _close(blueprint, used):
        if _key(candidate) not in taken:
            yield from _engine(fleet, candidate, f"{candidate.group.name} nearly took it", store)


def _key(candidate: Candidate) -> tuple[str, str, str, int]:
    return (
        candidate.group.model.architecture.name,
        candidate.site.gpu.name,
        candidate.mig.name if candidate.mig else "",
        candidate.gpus,
    )


def _close(blueprint: Blueprint, used: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that are nearly as cheap per request as the cheapest that the plan took for the same group, cheapest first."""
    prices = {pool.name: pool.price_microusd_per_h for pool in blueprint.problem.pools}

    def per_request(candidate: Candidate) -> float:
        part = 1.0
        if candidate.mig is not None:
            part = candidate.mig.memory_slices / candidate.site.gpu.mig_memory_slices
        elif candidate.mode == "mps":
            threads_fraction = candidate.settings.active_thread_percentage / ALL_THREADS
            part = max(candidate.ledger.total_mib / candidate.site.memory_mib(None), threads_fraction, candidate.bandwidth_fraction)
        elif candidate.mode == "time_shared":
            part = max(candidate.ledger.total_mib / candidate.site.memory_mib(None), max(candidate.compute_permille) / 1000)
        return prices[candidate.site.pool] * candidate.gpus * part / candidate.capacity_rps

    best: dict[str, float] = {}
    for candidate in used:
        best[candidate.group.name] = min(best.get(candidate.group.name, per_request(candidate)), per_request(candidate))
    near = [each for each in blueprint.candidates if per_request(each) <= _CLOSE * best.get(each.group.name, 0.0)]
    return sorted(near, key=lambda each: (per_request(each) / best[each.group.name], _key(each)))


def _engine(fleet: Fleet, candidate: Candidate, why: str, store: str) -> Iterator[_Question]:
    """The question of an engine's times; none where they were measured."""
    model, gpu, mig, size = _key(candidate)
    if fleet.measurements.latency_of(model, gpu, mig or None, size):
        return
    # engines are measured with all threads of their GPU
    settings = replace(candidate.settings, active_thread_percentage=ALL_THREADS)
    asked = PredictedEngine(candidate.group.model.architecture, candidate.site.gpu, settings, candidate.mig)
    mix = candidate.group.mix
    loads = [ClosedLoop(max(round(mix.input_tokens), 1), max(round(mix.output_tokens), 2), clients) for clients in _CLIENTS]
    predicted = [(load, predict_latency(asked, load, fleet.measurements)) for load in loads]
    options = [f"--model {model} --gpu {gpu} --input-tokens {loads[0].input_tokens} --output-tokens {loads[0].output_tokens}"]
    options += [f"--tensor-parallel-size {size}"] if size > 1 else []
    options += [f"--mig-profile {mig}"] if mig else []
    where = f"{gpu} {mig}" if mig else f"{size} x {gpu}" if size > 1 else gpu
    yield _Question(
        what=f"{model} on {where}",
        why=why,
        low=_supposed(candidate, predicted, high=False),
        high=_supposed(candidate, predicted, high=True),
        command=f"ullage profile measure --url http://HOST:PORT {' '.join(options)} --store {store}",
    )


def _supposed(candidate: Candidate, predicted: Sequence[tuple[ClosedLoop, LatencyPrediction]], *, high: bool) -> Measurements:
    """Points at the edge of the band, as if they had been measured."""
    model, gpu, mig, size = _key(candidate)
    settings = candidate.settings
    provenance = Provenance(kind="measured", source=_SUPPOSED, engine_version=settings.engine_version)
    points = [
        LatencyPoint(
            model=model,
            gpu=gpu,
            mig_profile=mig or None,
            tensor_parallel_size=size,
            quantization=settings.quantization,
            kv_cache_dtype=settings.kv_cache_dtype,
            input_tokens=int(load.input_tokens),
            output_tokens=int(load.output_tokens),
            concurrency=int(load.concurrency),
            ttft_s=found.ttft.p90_s if high else found.ttft.p10_s,
            tpot_s=found.tpot.p90_s if high else found.tpot.p10_s,
            provenance=provenance,
        )
        for load, found in predicted
    ]
    return Measurements(latency=tuple(points))


def _pair(fleet: Fleet, pair: tuple[Candidate, Candidate], sharing: PairSharing, store: str) -> Iterator[_Question]:
    """The question of what two neighbours cost each other; none where it was measured."""
    first, second = sorted(candidate.group.model.architecture.name for candidate in pair)
    gpu = pair[0].site.gpu.name
    if measured_factor(fleet.measurements, first, second, gpu, sharing) is not None:
        return
    how = "" if sharing == "time_shared" else f" --sharing {sharing}"
    yield _Question(
        what=f"{first} beside {second} on {gpu}",
        why="they share a GPU in the plan",
        low=_supposed_pair((first, second), gpu, sharing, _LEAST_FACTOR),
        high=_supposed_pair((first, second), gpu, sharing, _MOST_FACTOR),
        command=f"ullage profile measure --pair {first}=http://HOST:PORT {second}=http://HOST:PORT --gpu {gpu}{how} --store {store}",
    )


def _supposed_pair(models: tuple[str, str], gpu: str, sharing: PairSharing, factor: float) -> Measurements:
    slowdown = slowdown_of(factor, sharing)

    def side(model: str, phase: Phase) -> PairSide:
        return PairSide(model=model, phase=phase, concurrency=1, input_tokens=1, output_tokens=1, slowdown=slowdown)

    provenance = Provenance(kind="measured", source=_SUPPOSED)
    points = (
        PairPoint(first=side(models[0], one), second=side(models[1], other), gpu=gpu, sharing=sharing, provenance=provenance)
        for one, other in GRID
    )
    return Measurements(pairs=tuple(points))
