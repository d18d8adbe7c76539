"""Work that may wait: a volume of requests that must be done by a deadline, poured where others ask for least.

Volumes are poured like water: as work rises in the stretches of time that are lowest, the highest level stays as low as it can.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from planner.demand.windows import TokenLengths

# What is left of the time before a deadline when the planned work ends. Rates are means, and an engine that dies or is replaced on the
# way takes minutes to load again: of a night of eight hours this keeps 24 minutes for that.
SPARE_FRACTION = 0.05

# Volumes are poured again, each around all others, until no level moves by more than this part of the highest; a chain of volumes that
# overlap by pairs needs about as many rounds as it is long.
_STILL_FRACTION = 1e-6
_MOST_ROUNDS = 100

Work = NDArray[np.float64]


class Volume(BaseModel):
    """So many requests in each day or week (every_s), to be worked on from released_s and done by deadline_s.

    Times count from midnight UTC (Monday's for a week): 0 <= released_s < every_s, and released_s < deadline_s <= released_s + every_s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: float
    every_s: float
    released_s: float
    deadline_s: float
    input: TokenLengths
    output: TokenLengths

    @property
    def done_s(self) -> float:
        """When the planned work ends, with time to spare; whole seconds where there are any."""
        done_s = self.deadline_s - SPARE_FRACTION * (self.deadline_s - self.released_s)
        return math.floor(done_s) if math.floor(done_s) > self.released_s else done_s

    @property
    def rate_rps(self) -> float:
        """Its rate if it is worked on at one rate."""
        return self.requests / (self.done_s - self.released_s)

    def times(self, cycle_s: float) -> tuple[tuple[float, float], ...]:
        """From when to when it may be worked on, for each of its volumes in a cycle; an end beyond the cycle goes on at its start."""
        return tuple((self.released_s + shift_s, self.done_s + shift_s) for shift_s in np.arange(0.0, cycle_s, self.every_s).tolist())


@dataclass(frozen=True, slots=True)
class Pouring:
    """What is poured under a name: work_s (GPU seconds) into each of some spans, which share no stretch of time; spans are their indices.

    below is what others than volumes ask for in each stretch, as far as this one meets them, and rivals are the names that it meets.
    """

    name: str
    work_s: float
    spans: tuple[tuple[int, ...], ...]
    below: tuple[float, ...]
    rivals: tuple[str, ...]


def inside(edges_s: Sequence[float], start_s: float, end_s: float) -> tuple[int, ...]:
    """The stretches between edges, which are a cycle, that lie from start_s to end_s; both are edges, the end perhaps of the next cycle."""
    cycle_s, last = edges_s[-1], len(edges_s) - 1
    first = bisect_left(edges_s, start_s % cycle_s)
    if start_s // cycle_s == end_s // cycle_s:
        return tuple(range(first, bisect_left(edges_s, end_s % cycle_s)))
    return (*range(first, last), *range(bisect_left(edges_s, end_s % cycle_s)))


def filled(heights: Work, lengths_s: Work, work_s: float) -> Work:
    """What is added to each height so that the highest of those that rise is as low as possible; lengths times added sum to work_s."""
    order = np.argsort(heights, kind="stable")
    low, wide_s = heights[order], np.cumsum(lengths_s[order])
    levels = (work_s + np.cumsum(low * lengths_s[order])) / wide_s
    # the first level that does not reach the next height; the last stretch has none above it
    reached = np.append(levels[:-1] <= low[1:], True)
    above: Work = levels[int(np.argmax(reached))] - heights
    return np.where(above > 0.0, above, 0.0)


def pour(pourings: Sequence[Pouring], lengths_s: Sequence[float]) -> dict[str, Work]:
    """What is done of each name in each stretch (work per time), so that what all ask for together is as level as can be.

    They are poured in their order, then again around each other.
    """
    widths_s = np.array(lengths_s)
    poured = {item.name: np.zeros(len(lengths_s)) for item in pourings}
    below = {item.name: np.array(item.below) for item in pourings}
    spans = {item.name: [np.array(span) for span in item.spans] for item in pourings}
    for _ in range(_MOST_ROUNDS if len(pourings) > 1 else 1):
        moved = 0.0
        for item in pourings:
            heights, before = below[item.name].copy(), poured[item.name]
            for rival in item.rivals:
                heights += poured[rival]
            poured[item.name] = now = np.zeros(len(lengths_s))
            for at in spans[item.name]:
                now[at] = filled(heights[at], widths_s[at], item.work_s)
            moved = max(moved, float(np.abs(now - before).max() / (heights + now).max()))
        if moved <= _STILL_FRACTION:
            break
    return poured
