"""What in a store contradicts itself or the data sheets: findings for people, each with numbers.

An error is a value that cannot be true of the engine it names; a warning is one that somebody should look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal, TypeVar

from profiles.catalogue import Catalogue, UnknownNameError
from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.store.canonical import unknown_names
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, Provenance, StartPoint, preferred
from profiles.store.roofline import least_tpot_s, least_ttft_s

# More load cannot make requests faster; this much is left to noise between two runs.
_NOISE_FRACTION = 0.15
# Two answers to one question that differ by more are a conflict worth a line.
_CONFLICT_FRACTION = 0.25
# An engine in a group sees steps of the whole group: faster together than alone by more than this is no measurement.
_FASTER_TOGETHER = 0.95


_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something to look at: how bad, what it is about, what is wrong."""

    level: Literal["error", "warning"]
    subject: str
    message: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.level}: {self.subject}: {self.message}"


def check(measurements: Measurements, catalogue: Catalogue) -> tuple[Finding, ...]:
    """All findings, errors first, sorted. The measurements carry the catalogue's names (profiles.store.canonical)."""
    sheets = _Sheets(catalogue)
    found = [
        *(Finding("warning", name, "not in the catalogue: nothing to compare with") for name in unknown_names(measurements, catalogue)),
        *(finding for point in measurements.latency for finding in _against_sheets(point, sheets)),
        *_trends(measurements.latency),
        *_conflicts(measurements.latency),
        *(finding for point in measurements.starts for finding in _start_findings(point, sheets)),
        *(finding for pair in measurements.pairs for finding in _pair_findings(pair)),
    ]
    return tuple(sorted(set(found)))


class _Sheets:
    """Data sheets and architectures by name, None for what the catalogue does not have."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.gpu: Callable[[str], GpuType | None] = cache(lambda name: _or_none(catalogue.gpu, name))
        self.model: Callable[[str], Architecture | None] = cache(lambda name: _or_none(catalogue.model, name))


def _or_none(look_up: Callable[[str], _Entry], name: str) -> _Entry | None:
    try:
        return look_up(name)
    except UnknownNameError:
        return None


def _subject(point: LatencyPoint | StartPoint) -> str:
    parts = [point.model, point.gpu]
    if point.mig_profile is not None:
        parts.append(point.mig_profile)
    sizes = (("TP", point.tensor_parallel_size), ("PP", point.pipeline_parallel_size))
    parts += [f"{name} {size}" for name, size in sizes if size > 1]
    return ", ".join([*parts, origin(point.provenance)])


def origin(source: Provenance) -> str:
    """Provenance in a few words: engine and version, source, date."""
    engine = f"{source.engine} {source.engine_version or '(version unknown)'}"
    return f"{source.kind} with {engine} by {source.source}" + (f" on {source.date}" if source.date else "")


def _load(point: LatencyPoint) -> str:
    load = f"concurrency {point.concurrency}" if point.concurrency is not None else "arrivals at a rate"
    return f"{point.input_tokens} + {point.output_tokens} tokens, {load}"


def _against_sheets(point: LatencyPoint, sheets: _Sheets) -> Iterator[Finding]:
    gpu, model = sheets.gpu(point.gpu), sheets.model(point.model)
    if gpu is None or model is None:
        return
    if model.heads % point.tensor_parallel_size:
        text = f"tensor_parallel_size {point.tensor_parallel_size} does not divide the {model.heads} heads: something else ran"
        yield Finding("error", _subject(point), text)
    try:
        tpot_s, ttft_s = least_tpot_s(model, gpu, point), least_ttft_s(model, gpu, point)
    except ValueError as error:
        yield Finding("error", _subject(point), str(error))
        return
    for name, seen_s, least_s, excuse in (
        (
            "tpot_s",
            point.tpot_s,
            tpot_s,
            "reading the weights once takes longer; did it decode speculatively, or at another precision?",
        ),
        ("ttft_s", point.ttft_s, ttft_s, "computing the prompt takes longer; were prefixes cached, or is it another GPU?"),
    ):
        if seen_s is not None and seen_s < least_s:
            text = f"{name} {seen_s * 1000:.3g} ms at {_load(point)} is below the {least_s * 1000:.3g} ms of the data sheet: {excuse}"
            yield Finding("error", _subject(point), text)


def _trends(points: tuple[LatencyPoint, ...]) -> Iterator[Finding]:
    """Times that fall while the load of the same engine rises."""
    series: dict[LatencyPoint, list[LatencyPoint]] = defaultdict(list)
    for point in points:
        if point.concurrency is not None:
            series[_question(point, load=False)].append(point)
    for same in series.values():
        ordered = sorted(same, key=lambda point: (point.concurrency or 0, repr(point)))
        for low, high in pairwise(ordered):
            if low.concurrency != high.concurrency:
                yield from _falling(low, high)


def _falling(low: LatencyPoint, high: LatencyPoint) -> Iterator[Finding]:
    for name in ("ttft_s", "tpot_s"):
        before_s, after_s = getattr(low, name), getattr(high, name)
        if before_s is not None and after_s is not None and after_s < (1 - _NOISE_FRACTION) * before_s:
            text = f"{name} falls from {before_s * 1000:.3g} to {after_s * 1000:.3g} ms as concurrency rises to {high.concurrency}"
            yield Finding("warning", _subject(low), f"{text} at {_load(low)}")


def _question(point: LatencyPoint, *, load: bool) -> LatencyPoint:
    """The point without its answers: equal for points with the same question; without load, for one engine at one pair of lengths."""
    blank = replace(point, ttft_s=None, tpot_s=None, request_s=1.0, rate_rps=point.rate_rps if _open(point) else None, requests=None)
    if load:
        return replace(blank, provenance=replace(point.provenance, kind="measured", source="any", date=None, engine_version=None))
    return replace(blank, concurrency=None)


def _open(point: LatencyPoint) -> bool:
    """Whether the rate is a question (requests arrived at it) and not an answer."""
    return point.concurrency is None


def answers(points: Iterable[LatencyPoint]) -> list[list[LatencyPoint]]:
    """The points in groups that answer the same question: one engine, precision, load and pair of lengths."""
    questions: dict[LatencyPoint, list[LatencyPoint]] = defaultdict(list)
    for point in points:
        questions[_question(point, load=True)].append(point)
    return list(questions.values())


def _conflicts(points: tuple[LatencyPoint, ...]) -> Iterator[Finding]:
    for same in answers(points):
        best = preferred(same)
        for name in ("ttft_s", "tpot_s", "request_s"):
            values = [value for point in same if (value := getattr(point, name)) is not None]
            if best is not None and values and max(values) > (1 + _CONFLICT_FRACTION) * min(values):
                text = f"{len(values)} answers for {name} at {_load(best)}, from {min(values) * 1000:.3g} to {max(values) * 1000:.3g} ms"
                yield Finding("warning", _subject(best), f"{text}; this one is preferred")


def _start_findings(point: StartPoint, sheets: _Sheets) -> Iterator[Finding]:
    gpu = sheets.gpu(point.gpu)
    if gpu is not None:
        total_mib = gpu.memory_usable_mib
        if point.mig_profile is not None:
            sizes = {profile.name: profile.memory_mib for profile in gpu.mig_profiles}
            if point.mig_profile not in sizes:
                yield Finding("error", _subject(point), f"GPU type {gpu.name} has no MIG profile {point.mig_profile}")
                return
            total_mib = sizes[point.mig_profile]
        used_mib = sum(value or 0.0 for value in (point.weights_mib, point.activation_mib, point.non_torch_mib))
        used_mib += (point.kv_bytes or 0) / (1 << 20)
        if used_mib > total_mib:
            yield Finding("error", _subject(point), f"its parts are {used_mib:.0f} MiB together, {gpu.name} has {total_mib} MiB")
    if point.kv_tokens is not None and point.kv_blocks is not None and point.block_size is not None:
        largest = point.kv_blocks * point.block_size
        if point.kv_tokens > largest:
            text = f"kv_tokens {point.kv_tokens} are more than kv_blocks {point.kv_blocks} of {point.block_size} tokens hold"
            yield Finding("warning", _subject(point), f"{text}; right only where layers keep a window or a chunk")


def _pair_findings(pair: PairPoint) -> Iterator[Finding]:
    subject = f"{pair.first.model} with {pair.second.model}, {pair.gpu}, {pair.sharing}, {origin(pair.provenance)}"
    for side in (pair.first, pair.second):
        if side.slowdown < _FASTER_TOGETHER:
            yield Finding("warning", subject, f"{side.model} was faster together than alone (slowdown {side.slowdown:g}); measure again")
