"""The form of the published MIG scenarios, and a scenario as a Problem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.instance import entries, positive, whole
from planner.problem import Demand, MigSlot, Placed, Pool, Problem, Shape
from profiles.sources.reading import SourceRecord

MICRO = 1_000_000
# ParvaGPU admits a measured point when its latency is below this part of the SLO.
ADMISSIBLE_FRACTION = 0.45


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a scenario: its rate, and for each instance size the throughput of the best admissible point."""

    name: str
    rate_rps: float
    best_rps: dict[int, float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Services to serve on as few GPUs as possible; published is what the file says others needed."""

    name: str
    services: tuple[Service, ...]
    published: dict[str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """An instance of so many compute slices at a start slot, over so many memory slices."""

    size: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Instance:
    """Where instances may stand, and the scenarios. A GPU has as many compute slices as its largest instance."""

    spans: tuple[Span, ...]
    scenarios: tuple[Scenario, ...]

    @property
    def slices(self) -> int:
        """Compute slices of a GPU."""
        return max(span.size for span in self.spans)


@dataclass(frozen=True, slots=True)
class _Point:
    size: int
    throughput_rps: float
    latency_ms: float


def read_instance(record: SourceRecord) -> Instance:
    """An instance of a file's record; SourceError names the field that is wrong."""
    spans = tuple(_spans(record.table("mig_placements")))
    if not spans:
        raise record.error("mig_placements", "must not be empty")
    profiles = record.table("profiles")
    points = {model: [_point(entry) for entry in entries(profiles, model)] for model in sorted(profiles.values)}
    scenarios = tuple(_scenario(entry, points, {span.size for span in spans}) for entry in entries(record, "scenarios"))
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        raise record.error("scenarios", f"an id stands there twice: {', '.join(names)}")
    return Instance(spans, scenarios)


def _spans(placements: SourceRecord) -> Iterator[Span]:
    for key in sorted(placements.values):
        if not key.isdecimal() or int(key) < 1:
            raise placements.error(key, "must be a number of compute slices of at least 1")
        for place, entry in enumerate(placements.items(key)):
            if not isinstance(entry, list) or len(entry) != 2 or not all(type(number) is int for number in entry):
                raise placements.error(f"{key}[{place}]", "must be [start, length] in whole memory slices")
            start, length = entry
            if start < 0 or length < 1:
                raise placements.error(f"{key}[{place}]", f"start must be at least 0 and length at least 1, are {start} and {length}")
            yield Span(int(key), start, length)


def _point(record: SourceRecord) -> _Point:
    return _Point(record.count("size"), positive(record, "throughput_rps"), positive(record, "latency_ms"))


def _scenario(record: SourceRecord, points: dict[str, list[_Point]], sizes: set[int]) -> Scenario:
    published = record.table("published") if record.has("published") else None
    return Scenario(
        name=record.text("id"),
        services=tuple(_service(entry, points, sizes) for entry in entries(record, "services")),
        published={} if published is None else {key: whole(published, key) for key in sorted(published.values)},
    )


def _service(record: SourceRecord, points: dict[str, list[_Point]], sizes: set[int]) -> Service:
    model, slo_ms, rate_rps = record.text("model"), positive(record, "slo_ms"), record.amount("rate_rps")
    if model not in points:
        raise record.error("model", f"{model} has no profiles; there are {', '.join(points)}")
    best_rps: dict[int, float] = {}
    for point in points[model]:
        if point.latency_ms < ADMISSIBLE_FRACTION * slo_ms and point.size in sizes:
            best_rps[point.size] = max(best_rps.get(point.size, 0.0), point.throughput_rps)
    if rate_rps and not best_rps:
        raise record.error(
            "slo_ms", f"no point of {model} is faster than {ADMISSIBLE_FRACTION} of {slo_ms:g} ms: it cannot be served at all"
        )
    return Service(model, rate_rps, best_rps)


def problem_of(instance: Instance, scenario: Scenario) -> Problem:
    """Fewest GPUs, then fewest slices, as the cost of a Problem.

    A GPU that uses up to k slices is one of pool k and costs BIG + k, where BIG is more than all slices of the largest answer worth
    looking at: each service on instances of its own best size. So the cost divided by BIG counts GPUs, and the rest slices.
    """
    most = sum(math.ceil(service.rate_rps / max(service.best_rps.values())) for service in scenario.services if service.best_rps)
    big = most * instance.slices + 1
    pools: list[Pool] = []
    shapes: list[Shape] = []
    for slices in range(1, instance.slices + 1):
        layouts = _layouts(instance, slices)
        if not any(sum(_size(slot) for slot in layout) == slices for layout in layouts):
            continue
        for demand, service in enumerate(scenario.services):
            shapes += [_shape(demand, len(pools), service, size) for size in sorted(service.best_rps) if size <= slices]
        pools.append(Pool(f"{slices} slices", most, 1, 1, (big + slices) * MICRO, mig_layouts=layouts))
    demands = tuple(Demand(f"{i}:{service.name}", (math.ceil(service.rate_rps * MICRO),)) for i, service in enumerate(scenario.services))
    return Problem(tuple(pools), demands, tuple(shapes))


def _shape(demand: int, pool: int, service: Service, size: int) -> Shape:
    return Shape(
        name=f"{service.name} on {size}",
        demand=demand,
        pool=pool,
        mode="mig",
        memory_mib=0,
        capacity_microrps=math.floor(service.best_rps[size] * MICRO),
        mig_profile=str(size),
    )


def _size(slot: MigSlot) -> int:
    return int(slot.profile)


def _layouts(instance: Instance, slices: int) -> tuple[tuple[MigSlot, ...], ...]:
    """Of each multiset of sizes within so many compute slices that no other contains, one legal layout."""
    legal = {tuple(sorted(span.size for span in layout)): layout for layout in _legal(instance.spans, slices, 0) if layout}
    counted = [Counter(sizes) for sizes in legal]
    return tuple(
        tuple(MigSlot(str(span.size), span.start) for span in legal[sizes])
        for sizes in sorted(legal)
        if not any(Counter(sizes) < other for other in counted)
    )


def _legal(spans: Sequence[Span], slices: int, free_from: int) -> Iterator[tuple[Span, ...]]:
    """Layouts from a memory slice on, in order of start slots."""
    yield ()
    for span in sorted(spans, key=lambda span: (span.start, span.size)):
        if span.start >= free_from and span.size <= slices:
            for rest in _legal(spans, slices - span.size, span.start + span.length):
                yield (span, *rest)


def counts(problem: Problem, placed: Sequence[Placed]) -> tuple[int, int]:
    """GPUs and compute slices in use."""
    gpus = {(problem.shapes[item.shape].pool, item.node, item.gpus) for item in placed}
    return len(gpus), sum(int(problem.shapes[item.shape].mig_profile or 0) for item in placed)
