"""Demand from declared windows: by the clock, or counted from a start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from planner.demand.recorded import HOUR_S
from planner.demand.windows import DemandProfile, DemandWindow, TokenLengths, windowed_demand
from planner.spec.clock import DAY_S, DAYS, WEEK_S, stretches_of, time_text
from planner.spec.declared_demand import DeclaredWindow, DeclaredWindows
from planner.spec.errors import RefusedDemandError
from planner.spec.messages import Loc

# Our choice: who leaves out more of a day or a week means it.
FORGOTTEN_FRACTION = 0.25
MOST_GAPS = 3

ReadLengths = Callable[[DeclaredWindow, Loc], tuple[TokenLengths, TokenLengths]]


def demand_from_windows(demand: DeclaredWindows, lengths: ReadLengths) -> DemandProfile:
    """Demand that repeats every day or every week (or not at all, where it goes on for longer); lengths reads those of a window.

    Raises RefusedDemandError for windows that overlap, end before they start, or are half by the clock.
    """
    by_clock = [window.hours_s is not None for window in demand.windows]
    days = any(window.days is not None for window in demand.windows)
    found: list[tuple[DemandWindow, int]] = []
    for index, window in enumerate(demand.windows):
        here: Loc = ("windows", index)
        if by_clock[index] != by_clock[0]:
            raise RefusedDemandError(here, "some windows of this workload have hours and some have start and end; write all in one way")
        input_lengths, output_lengths = lengths(window, here)
        found += [
            (DemandWindow(start_s=start_s, end_s=end_s, rate_rps=window.rate_rps, input=input_lengths, output=output_lengths), index)
            for start_s, end_s in (_by_clock(window, days, here) if by_clock[0] else [_counted(window, here)])
        ]
    if by_clock[0]:
        found.sort(key=lambda item: item[0].start_s)
    _check_order(found, by_clock[0], days)
    end_s = found[-1][0].end_s
    if days:
        every_s: float | None = WEEK_S
    else:
        every_s = DAY_S if end_s <= DAY_S else WEEK_S if end_s <= WEEK_S else None
    return windowed_demand([window for window, _ in found]).model_copy(update={"every_s": every_s})


def forgotten_hours(profile: DemandProfile) -> str | None:
    """Words for the hours that windows leave out; None where they leave out none, or so many that this is what was meant."""
    if profile.every_s is None:
        return None
    starts_s = [*(window.start_s for window in profile.windows[1:]), profile.windows[0].start_s + profile.every_s]
    gaps_s = [(window.end_s, start_s) for window, start_s in zip(profile.windows, starts_s, strict=True) if start_s > window.end_s]
    left_out_s = sum(end_s - start_s for start_s, end_s in gaps_s)
    if not 0 < left_out_s <= FORGOTTEN_FRACTION * profile.every_s:
        return None
    weekly = profile.every_s == WEEK_S
    named = [f"{time_text(start_s, weekly=weekly)} to {time_text(end_s, weekly=weekly)}" for start_s, end_s in gaps_s[:MOST_GAPS]]
    more = f" and {len(gaps_s) - MOST_GAPS} more times" if len(gaps_s) > MOST_GAPS else ""
    return (
        f"no window has {', '.join(named)}{more}, {left_out_s / HOUR_S:.3g} of {profile.every_s / HOUR_S:g} hours: "
        "no request is planned for then; if there are some, add a window"
    )


def _by_clock(window: DeclaredWindow, weekly: bool, here: Loc) -> list[tuple[float, float]]:
    if window.start_s is not None or window.end_s is not None:
        raise RefusedDemandError(here, "a window with hours has no start and no end; leave them out")
    every_day = tuple(range(len(DAYS))) if weekly else None
    return stretches_of(window.hours_s or (0.0, DAY_S), window.days or every_day)


def _counted(window: DeclaredWindow, here: Loc) -> tuple[float, float]:
    if window.days is not None:
        raise RefusedDemandError((*here, "days"), "days need hours; write for example hours: 08:00-20:00")
    if window.start_s is None or window.end_s is None:
        missing = "hours" if window.start_s is window.end_s else "start" if window.start_s is None else "end"
        raise RefusedDemandError((*here, missing), "is missing; give hours, or start and end")
    if window.end_s <= window.start_s:
        raise RefusedDemandError((*here, "end"), f"{window.end_s:g} s is not after the start at {window.start_s:g} s")
    return window.start_s, window.end_s


def _check_order(found: Sequence[tuple[DemandWindow, int]], by_clock: bool, weekly: bool) -> None:
    for (earlier, above), (later, index) in pairwise(found):
        if later.start_s >= earlier.end_s:
            continue
        if by_clock:
            at = time_text(later.start_s, weekly=weekly)
            raise RefusedDemandError(("windows", max(index, above), "hours"), f"overlaps windows[{min(index, above)}] at {at}")
        raise RefusedDemandError(
            ("windows", index, "start"), f"{later.start_s:g} s is before the end of the window above at {earlier.end_s:g} s"
        )
