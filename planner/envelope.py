"""Is the demand that is seen still the one that was planned for?"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from planner.plan import Desired

# Fewer requests than that in the whole stretch say nothing about a rate: its standard deviation is then above a seventh.
FEWEST_REQUESTS = 50


class EngineOf(NamedTuple):
    """One engine process, by the model that it serves and what tells it from others."""

    served_name: str
    process: str


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests of a model that have come until a moment, by counters that only grow: finished ones and those that are in its engines."""

    at_s: float
    requests: int


class DemandRecord:
    """What has come lately, by served name, put together from the counters of single engines."""

    def __init__(self, stretch_s: float) -> None:
        """Rates are means over stretch_s seconds."""
        self._stretch_s = stretch_s
        self._last: dict[EngineOf, int] = {}
        self._total: dict[str, int] = {}
        self._seen: dict[str, deque[Arrivals]] = {}

    def add(self, at_s: float, requests: Mapping[EngineOf, int]) -> None:
        """New readings of engines that answered; one that did not answer once counts on where it was, a new one from now on."""
        for engine, count in requests.items():
            before = self._last.get(engine, count)
            self._last[engine] = count
            # a counter that falls was reset, and has counted from zero since
            more = count - before if count >= before else count
            self._total[engine.served_name] = self._total.get(engine.served_name, 0) + more
        for name, total in self._total.items():
            record = self._seen.setdefault(name, deque())
            record.append(Arrivals(at_s, total))
            while len(record) > 2 and record[1].at_s <= at_s - self._stretch_s:
                record.popleft()

    def rates_rps(self) -> dict[str, float]:
        """Requests/s by served name, where the record is long enough; rates of few requests only where they say enough."""
        found: dict[str, float] = {}
        for name, record in self._seen.items():
            lasted_s = record[-1].at_s - record[0].at_s
            if lasted_s >= self._stretch_s:
                found[name] = (record[-1].requests - record[0].requests) / lasted_s
        return found

    def forget(self) -> None:
        """What was seen belongs to a plan that is no more."""
        self._seen.clear()
        self._last.clear()
        self._total.clear()


def planned_rps(desired: Desired) -> dict[str, float]:
    """The largest rate that the plan promises to serve, by served name."""
    found: dict[str, float] = {}
    for workload in desired.workloads:
        found[workload.served_name] = found.get(workload.served_name, 0.0) + workload.rate_rps
    return found


def outside(desired: Desired, rates_rps: Mapping[str, float], tolerance_fraction: float, stretch_s: float) -> dict[str, float]:
    """Factors on the declared demand of the models whose observed rate leaves the planned one by more than the tolerance.

    A rate below the plan counts only where the plan has no windows: what is planned for the day is not wanted at night. Rates of so few
    requests that chance explains the difference do not count.
    """
    found: dict[str, float] = {}
    for name, planned in planned_rps(desired).items():
        seen = rates_rps.get(name)
        if seen is None or not planned:
            continue
        factor = seen / planned
        above = factor > 1 + tolerance_fraction and seen * stretch_s >= FEWEST_REQUESTS
        below = factor < 1 - tolerance_fraction and not desired.windows and planned * stretch_s >= FEWEST_REQUESTS
        if above or below:
            found[name] = max(factor, 0.01)
    return found
