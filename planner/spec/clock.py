"""Windows by the clock: hours of the day as `22:00-06:00` and days of the week as `mon-fri`, in seconds since Monday, 00:00."""

from __future__ import annotations

import re

MINUTE_S, DAY_S, WEEK_S = 60.0, 86_400.0, 604_800.0
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
HOURS_PATTERN = rf"^{_TIME}-(?:{_TIME}|24:00)$"
_SOME_DAYS = rf"(?:{'|'.join(DAYS)})(?:-(?:{'|'.join(DAYS)}))?"
DAYS_PATTERN = rf"^{_SOME_DAYS}(?:, ?{_SOME_DAYS})*$"


def read_hours(text: object) -> tuple[float, float]:
    """Start and end in seconds of the day; an end that is not later than the start is on the next day. Raises ValueError.

    >>> [seconds / 3600 for seconds in read_hours("22:00-06:00")]
    [22.0, 30.0]
    """
    if not isinstance(text, str) or not re.fullmatch(HOURS_PATTERN, text):
        raise ValueError(f"{str(text)[:60]!r} are no hours of a day; write for example 08:00-20:00, or 22:00-06:00 past midnight")
    start_s, end_s = (int(time[:2]) * 3600.0 + int(time[3:]) * MINUTE_S for time in text.split("-"))
    return start_s, end_s if end_s > start_s else end_s + DAY_S


def read_days(text: object) -> tuple[int, ...]:
    """Days of the week, Monday is 0, in order. Raises ValueError.

    >>> read_days("sat-mon"), read_days("mon, wed")
    ((0, 5, 6), (0, 2))
    """
    if not isinstance(text, str) or not re.fullmatch(DAYS_PATTERN, text):
        raise ValueError(f"{str(text)[:60]!r} are no days of a week; write for example mon-fri, or sat,sun")
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        day, end = DAYS.index(first), DAYS.index(last or first)
        found.add(end)
        while day != end:
            found.add(day)
            day = (day + 1) % len(DAYS)
    return tuple(sorted(found))


def stretches_of(hours_s: tuple[float, float], days: tuple[int, ...] | None) -> list[tuple[float, float]]:
    """The stretches of a week (of a day when no days are named) that the hours cover; what passes its end goes on at its start."""
    period_s = DAY_S if days is None else WEEK_S
    found: list[tuple[float, float]] = []
    for day in days or (0,):
        start_s, end_s = (day * DAY_S + second for second in hours_s)
        found.append((start_s, min(end_s, period_s)))
        if end_s > period_s:
            found.append((0.0, end_s - period_s))
    return found
