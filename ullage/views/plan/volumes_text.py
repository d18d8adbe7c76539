"""Volumes of requests with a deadline: when they are worked on, and how many miss it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import Desired, PlannedVolume, WorkloadForecast
from ullage.views.plan.windows_text import DAY_S, DAYS, time_words

# Windows that a line names; of more, it says how many there are.
_MOST_NAMED = 4


def volume_lines(desired: Desired) -> Iterator[str]:
    """One line per volume, the earliest deadline first."""
    found = [(row, row.volume) for row in desired.workloads if row.volume is not None]
    if found:
        yield "Volumes with a deadline (times in UTC)"
    for row, volume in sorted(found, key=lambda item: (item[1].deadline_s, item[0].name)):
        yield f"  {row.name}: {_volume_words(row, volume)}"


def _volume_words(row: WorkloadForecast, volume: PlannedVolume) -> str:
    weekly = volume.every_s > DAY_S
    deadline = _moment(volume.deadline_s, weekly=weekly)
    asked = f"{volume.requests:,.0f} requests by {deadline} each {'week' if weekly else 'day'}"
    done = f"done by {_moment(volume.done_s, weekly=weekly)}"
    missed = f"; {volume.missed_requests:,.0f} of them MISS the deadline: {row.unserved_reason}" if volume.missed_requests else ""
    return f"{asked}: {_when(volume)}; {missed and 'planned to be '}{done}{missed}"


def _when(volume: PlannedVolume) -> str:
    weekly, spans = volume.cycle_s > DAY_S, _spans(volume)
    daily = _daily(spans) if weekly else []
    if daily:
        spans, weekly = daily, False
    if len(spans) <= _MOST_NAMED:
        named = (f"{_moment(start_s, weekly=weekly)}-{_end(end_s, weekly)} {rate_rps:.3g}/s" for start_s, end_s, rate_rps in spans)
        return f"{'each day ' if daily and volume.every_s > DAY_S else ''}{', '.join(named)}"
    rates_rps = [rate_rps for *_, rate_rps in spans]
    low, high = (f"{rate_rps:.3g}" for rate_rps in (min(rates_rps), max(rates_rps)))
    return f"in {len(spans)} windows at {low if low == high else f'{low} to {high}'}/s"


def _spans(volume: PlannedVolume) -> list[tuple[float, float, float]]:
    """Its windows from when it may be worked on, with what goes past the end of the cycle in one piece."""
    spans = [(item.start_s, item.end_s, item.rate_rps) for item in volume.windows]
    if len(spans) > 1 and spans[0][0] == 0.0 and (spans[-1][1], spans[-1][2]) == (volume.cycle_s, spans[0][2]):
        (_, end_s, rate_rps), (start_s, *_) = spans[0], spans[-1]
        spans = [*spans[1:-1], (start_s, end_s + volume.cycle_s, rate_rps)]
    return sorted(spans, key=lambda span: (span[0] - volume.released_s) % volume.cycle_s)


def _daily(spans: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Those of one day, where all days of a week have the same; else none."""
    days = [
        [(start_s - day * DAY_S, end_s - day * DAY_S, rate_rps) for start_s, end_s, rate_rps in spans if start_s // DAY_S == day]
        for day in range(len(DAYS))
    ]
    return days[0] if all(sorted(day) == sorted(days[0]) for day in days) else []


def _moment(time_s: float, *, weekly: bool) -> str:
    return f"{DAYS[int(time_s // DAY_S) % len(DAYS)] + ' ' if weekly else ''}{time_words(time_s % DAY_S)}"


def _end(end_s: float, weekly: bool) -> str:
    """The end of a window: on the day on which it began the time is enough, and midnight is its end."""
    return time_words(end_s % DAY_S or DAY_S) if not weekly or end_s % DAY_S == 0 else _moment(end_s, weekly=weekly)
