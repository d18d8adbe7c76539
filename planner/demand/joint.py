"""Joint windows: what all workloads ask for at the same time, in few representative windows.

Peaks of different workloads are never added up when it is known that they do not meet. It is known of windows on one timeline: those
that people declare are on the clock's, those of a trace file on the file's own. Of workloads on different timelines it is not: in the
windows of one, those of the others count with their largest.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planner.demand.windows import DemandProfile, DemandWindow

# So many windows keep the integer problem small; a day has about as many that differ.
MOST_WINDOWS = 12

# Neighbours in time are joined before any two windows are compared, which takes time with the square of their number.
_MOST_COMPARED = 120


@dataclass(frozen=True, slots=True)
class Offered:
    """What a workload asks for in a window: requests/s, and per second input and output tokens; bursts is the rate times burstiness."""

    rate_rps: float = 0.0
    input_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    bursts_rps: float = 0.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A window on a timeline (None: of workloads that have none): between start_s and end_s."""

    timeline: str | None
    start_s: float
    end_s: float


NOTHING = Offered()


def stretches(profiles: Iterable[DemandProfile]) -> tuple[Stretch, ...]:
    """The windows of all timelines: a new one begins wherever one of a profile on it begins or ends."""
    edges: dict[str | None, set[float]] = {}
    profiles = tuple(profiles)
    for profile in profiles:
        edges.setdefault(profile.timeline, set()).update(_edges(profile, _whole_s(profile.timeline, profiles)))
    if len(edges) > 1:
        edges.pop(None, None)
    found: list[Stretch] = []
    for timeline in sorted(edges, key=lambda name: (name is not None, name or "")):
        cuts = sorted(edges[timeline])
        found.extend(Stretch(timeline, start_s, end_s) for start_s, end_s in pairwise(cuts))
    return tuple(found)


def _whole_s(timeline: str | None, profiles: Sequence[DemandProfile]) -> float:
    """Until when a timeline is looked at: the end of its last window, or of the longest time after which a profile repeats itself."""
    return max(
        profile.windows[-1].end_s if profile.every_s is None else profile.every_s for profile in profiles if profile.timeline == timeline
    )


def _edges(profile: DemandProfile, whole_s: float) -> Iterator[float]:
    """Starts and ends of its windows, as often as it repeats itself until whole_s."""
    times = 1 if profile.every_s is None else max(1, math.ceil(whole_s / profile.every_s))
    for time in range(times):
        shift_s = time * (profile.every_s or 0.0)
        yield from (shift_s + edge_s for window in profile.windows for edge_s in (window.start_s, window.end_s))


def offered(profile: DemandProfile, stretch: Stretch) -> Offered:
    """What a profile asks for in a stretch: on another timeline the largest of each number.

    A window of a trace has few requests, and what was quiet by chance will not be again: it counts with steady_fraction of the mean
    rate at least, the part of the differences between windows that chance explains.
    """
    if profile.timeline != stretch.timeline:
        every = [_of(window) for window in profile.windows]
        return Offered(
            max(item.rate_rps for item in every),
            max(item.input_tokens_per_s for item in every),
            max(item.output_tokens_per_s for item in every),
            max(item.bursts_rps for item in every),
        )
    time_s = stretch.start_s if profile.every_s is None else stretch.start_s % profile.every_s
    position = bisect_right(profile.windows, time_s, key=lambda window: window.start_s) - 1
    if position < 0 or time_s >= profile.windows[position].end_s:
        return NOTHING
    window = profile.windows[position]
    steady_rps = profile.steady_fraction * profile.mean_rps + (1.0 - profile.steady_fraction) * window.rate_rps
    return _of(window if steady_rps <= window.rate_rps else window.model_copy(update={"rate_rps": steady_rps}))


def _of(window: DemandWindow) -> Offered:
    rate_rps = window.rate_rps
    return Offered(rate_rps, rate_rps * window.input.mean_tokens, rate_rps * window.output.mean_tokens, rate_rps * window.burstiness)


@dataclass(frozen=True, slots=True)
class JointWindow:
    """A representative window: the first that it stands for, how many it stands for, and the rate of each name in it (requests/s).

    No window that it stands for has a larger rate of any name.
    """

    first: Stretch
    count: int
    rates_rps: Mapping[str, float]


def representative(
    windows: Sequence[Stretch], rates_rps: Mapping[str, Sequence[float]], most: int = MOST_WINDOWS
) -> tuple[JointWindow, ...]:
    """At most so many windows that stand for all: alike and dominated ones are dropped, then the most similar ones joined upwards.

    rates_rps holds per name a rate for each window. Upwards: a joined window has the larger rate of each name, so that every name keeps
    its peak and what is legal in the joined windows is legal in all.
    """
    names = sorted(rates_rps)
    rates = np.array([rates_rps[name] for name in names], dtype=float).reshape(len(names), len(windows)).T
    largest = np.maximum(rates.max(axis=0, initial=0.0), 1e-300)
    groups = [[i] for i in range(len(windows))]
    rows = rates / largest
    while len(groups) > _MOST_COMPARED:
        pairs = [groups[i : i + 2] for i in range(0, len(groups), 2)]
        rows = np.array([rows[i : i + 2].max(axis=0) for i in range(0, len(groups), 2)])
        groups = [[member for part in pair for member in part] for pair in pairs]
    groups, rows = _undominated(groups, rows)
    while len(groups) > most:
        groups, rows = _undominated(*_joined(groups, rows))
    return tuple(
        JointWindow(
            first=windows[group[0]],
            count=len(group),
            rates_rps=dict(zip(names, rates[group].max(axis=0).tolist(), strict=True)),
        )
        for group in sorted(groups)
    )


def _undominated(groups: list[list[int]], rows: NDArray[np.float64]) -> tuple[list[list[int]], NDArray[np.float64]]:
    """Windows that no other dominates; a dominated one is stood for by the first that dominates it."""
    above: NDArray[np.bool_] = np.all(rows[:, None, :] >= rows[None, :, :], axis=2)
    groups = [list(group) for group in groups]
    heads: list[int] = []
    for i in np.lexsort((np.arange(len(rows)), -rows.sum(axis=1))):
        at = next((head for head in heads if above[head, i]), None)
        if at is None:
            heads.append(int(i))
        else:
            groups[at] = [*groups[at], *groups[int(i)]]
    heads.sort()
    return [groups[i] for i in heads], rows[heads]


def _joined(groups: list[list[int]], rows: NDArray[np.float64]) -> tuple[list[list[int]], NDArray[np.float64]]:
    """The two windows joined whose larger one grows least, in sums of parts of peaks."""
    sums = rows.sum(axis=1)
    growth = np.maximum(rows[:, None, :], rows[None, :, :]).sum(axis=2) - np.maximum(sums[:, None], sums[None, :])
    growth[np.tril_indices(len(rows))] = np.inf
    one, other = (int(i) for i in np.unravel_index(int(growth.argmin()), growth.shape))
    lead, rest = (one, other) if sums[one] >= sums[other] else (other, one)
    groups = [*groups]
    groups[lead] = [*groups[lead], *groups[rest]]
    rows = rows.copy()
    rows[lead] = np.maximum(rows[one], rows[other])
    keep = [i for i in range(len(groups)) if i != rest]
    return [groups[i] for i in keep], rows[keep]
