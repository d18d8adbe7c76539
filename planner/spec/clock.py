"""Windows by the clock: hours of the day as `22:00-06:00` and days of the week as `mon-fri`, in seconds since Monday, 00:00."""

from __future__ import annotations

import re
from dataclasses import dataclass

MINUTE_S, DAY_S, WEEK_S = 60.0, 86_400.0, 604_800.0
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
HOURS_PATTERN = rf"^{_TIME}-(?:{_TIME}|24:00)$"
_SOME_DAYS = rf"(?:{'|'.join(DAYS)})(?:-(?:{'|'.join(DAYS)}))?"
DAYS_PATTERN = rf"^{_SOME_DAYS}(?:, ?{_SOME_DAYS})*$"
CLOCK_TIME_PATTERN = rf"^(?:(?:{'|'.join(DAYS)}) )?(?:{_TIME}|24:00)$"
_DATE = r"\d{4}-\d{1,2}-\d{1,2}"


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of the day, or of the week where it names a day (Monday is 0)."""

    day: int | None
    second_s: float

    @property
    def text(self) -> str:
        """As people write it."""
        return time_text(self.second_s if self.day is None else self.day * DAY_S + self.second_s, weekly=self.day is not None)


def read_time(text: object) -> ClockTime:
    """A time of the day, or of a day of the week; 24:00 is 00:00 of the next day. Raises ValueError.

    >>> read_time("06:00"), read_time("sun 24:00")
    (ClockTime(day=None, second_s=21600.0), ClockTime(day=0, second_s=0.0))
    """
    if isinstance(text, str) and re.match(_DATE, text):
        raise ValueError(f"{text[:60]!r} names a date; deadlines come again every day or week: write a time in UTC, as 06:00 or sun 06:00")
    if not isinstance(text, str) or not re.fullmatch(CLOCK_TIME_PATTERN, text):
        raise ValueError(f"{str(text)[:60]!r} is no time of a day; write for example 06:00 (UTC), or sun 06:00 with every: week")
    day, _, time = text.rpartition(" ")
    number = DAYS.index(day) if day else None
    if time == "24:00":
        return ClockTime(None if number is None else (number + 1) % len(DAYS), 0.0)
    return ClockTime(number, int(time[:2]) * 3600.0 + int(time[3:]) * MINUTE_S)


def time_text(time_s: float, *, weekly: bool) -> str:
    """A time since midnight (Monday's where weekly) as people write it.

    >>> time_text(540_000, weekly=True), time_text(86_400, weekly=False)
    ('sun 06:00', '00:00')
    """
    day, second_s = divmod(time_s, DAY_S)
    hour, rest_s = divmod(second_s, 3600.0)
    return f"{DAYS[int(day) % len(DAYS)] + ' ' if weekly else ''}{int(hour):02}:{int(rest_s / MINUTE_S):02}"


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
