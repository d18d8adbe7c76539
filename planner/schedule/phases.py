"""Which parts of the time have a plan of their own: as many as pay for the changes between them.

At first all segments that ask for the same are one phase, the most similar ones joined until there are few. Then phases that follow each
other are joined, the pair first after which the whole time costs least, as long as that loses no more than is worth a change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planner.demand.joint import Stretch
from planner.demand.windows import DemandProfile
from planner.schedule.horizon import Horizon, asked_in
from planner.spec import Workload

HOUR_S = 3600.0

# Each phase may be planned several times until it is known which are joined.
MOST_PHASES = 12

# Numbers of segments, ascending.
PhaseSegments = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outlay:
    """What a plan for a phase costs, what it leaves unserved at its peak, and the nodes that it rents by pool."""

    lost_rps: float
    usd_per_h: float
    rented: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PhaseRules:
    """switch_usd is what it costs to go from one plan to another. No phase is shorter than shortest_s.

    A change between two phases is made only where it saves slack_fraction of what they cost.
    """

    switch_usd: Callable[[Outlay, Outlay], float]
    shortest_s: float
    slack_fraction: float


def phases(
    time: Horizon, workloads: Sequence[Workload], outlay: Callable[[PhaseSegments], Outlay], rules: PhaseRules
) -> list[PhaseSegments]:
    """The phases, in the order of their first segments; outlay is asked about sets of segments, the same ones again and again."""
    found = _few(time, workloads, _alike(time, workloads))
    while len(found) > 1:
        short = [phase for phase in found if _shortest_s(time, phase) < rules.shortest_s]
        pairs = [pair for pair in _neighbours(time, found) if not short or set(pair) & set(short)]
        tried = [(_total(time, joined, outlay, rules), number) for number, joined in enumerate(_joined(found, *pair) for pair in pairs)]
        (lost, usd), number = min(tried)
        before_lost, before_usd = _total(time, found, outlay, rules)
        worth_usd = rules.slack_fraction * sum(_usd(time, phase, outlay) for phase in pairs[number])
        if not short and (lost > before_lost * (1 + 1e-9) or usd > before_usd + worth_usd):
            break
        found = _joined(found, *pairs[number])
    return found


def _alike(time: Horizon, workloads: Sequence[Workload]) -> list[PhaseSegments]:
    """Segments in which every workload asks for the same."""
    found: dict[tuple[object, ...], list[int]] = {}
    for number, stretch in enumerate(time.segments):
        asked = [asked_in(item.demand, stretch) for item in workloads if item.demand.timeline is not None]
        key = tuple(None if window is None else (window.rate_rps, window.burstiness, window.input, window.output) for window in asked)
        found.setdefault(key, []).append(number)
    return [tuple(numbers) for numbers in found.values()]


def _few(time: Horizon, workloads: Sequence[Workload], found: list[PhaseSegments]) -> list[PhaseSegments]:
    """No more than MOST_PHASES: the two that differ least, in parts of peaks, are joined first."""
    changing = [item.demand for item in workloads if item.demand.timeline is not None]
    asked = [[_part_of_peak(demand, stretch) for demand in changing] for stretch in time.segments]
    rates = {phase: asked[phase[0]] for phase in found}
    while len(found) > MOST_PHASES:
        pairs = ((one, other) for i, one in enumerate(found) for other in found[i + 1 :])
        one, other = min(pairs, key=lambda pair: (_distance(rates[pair[0]], rates[pair[1]]), pair))
        found = _joined(found, one, other)
        joined = tuple(sorted((*one, *other)))
        rates[joined] = [max(pair) for pair in zip(rates[one], rates[other], strict=True)]
    return found


def _part_of_peak(demand: DemandProfile, stretch: Stretch) -> float:
    window = asked_in(demand, stretch)
    return 0.0 if window is None else window.rate_rps / demand.peak_rps


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _joined(found: Sequence[PhaseSegments], one: PhaseSegments, other: PhaseSegments) -> list[PhaseSegments]:
    return sorted([tuple(sorted((*one, *other))), *(phase for phase in found if phase not in (one, other))])


def _neighbours(time: Horizon, found: Sequence[PhaseSegments]) -> list[tuple[PhaseSegments, PhaseSegments]]:
    """Pairs of phases one of which follows the other at some time."""
    return sorted({(min(pair), max(pair)) for pair in changes(time, found)})


def changes(time: Horizon, found: Sequence[PhaseSegments]) -> list[tuple[PhaseSegments, PhaseSegments]]:
    """From which phase to which, each time that one ends; where time repeats itself, the last change is that to its start."""
    phase_of = {number: phase for phase in found for number in phase}
    row = [phase_of[number] for number in range(len(time.segments))]
    followers = [*row[1:], row[0]] if time.repeats else row[1:]
    return [(one, other) for one, other in zip(row, followers, strict=False) if one != other]


def _shortest_s(time: Horizon, phase: PhaseSegments) -> float:
    """The shortest time for which it lasts; one that goes past the end of a time that repeats itself is one."""
    runs_s: list[float] = []
    last = -2
    for number in phase:
        length_s = time.segments[number].end_s - time.segments[number].start_s
        if number == last + 1:
            runs_s[-1] += length_s
        else:
            runs_s.append(length_s)
        last = number
    if time.repeats and len(runs_s) > 1 and phase[0] == 0 and last == len(time.segments) - 1:
        runs_s[0] += runs_s.pop()
    return min(runs_s)


def hours(time: Horizon, phase: PhaseSegments) -> float:
    """How long a phase lasts in all."""
    return sum(time.segments[number].end_s - time.segments[number].start_s for number in phase) / HOUR_S


def _usd(time: Horizon, phase: PhaseSegments, outlay: Callable[[PhaseSegments], Outlay]) -> float:
    return outlay(phase).usd_per_h * hours(time, phase)


def _total(
    time: Horizon, found: Sequence[PhaseSegments], outlay: Callable[[PhaseSegments], Outlay], rules: PhaseRules
) -> tuple[float, float]:
    """What is lost and paid over the whole time; smaller is better, lost demand first."""
    lost = sum(outlay(phase).lost_rps * hours(time, phase) for phase in found)
    switches_usd = sum(rules.switch_usd(outlay(one), outlay(other)) for one, other in changes(time, found))
    return lost, sum(_usd(time, phase, outlay) for phase in found) + switches_usd
