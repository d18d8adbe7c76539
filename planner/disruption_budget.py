"""How much a change may disturb: who may be without a replica, how many at once, and when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_S, WEEK_S = 86_400.0, 604_800.0


class DisruptionBudget(BaseModel):
    """Limits for replicas that are stopped although they serve; what has died or hangs is replaced whatever they say.

    At most max_concurrent replicas leave at once (None: no limit), counting those that are down already. min_available are ready
    replicas by served name; protected names lose none. windows_s are the stretches of a week in which replicas may leave, in seconds
    since Monday 00:00 UTC; empty: always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_concurrent: int | None = Field(default=None, ge=1)
    min_available: dict[str, int] = Field(default_factory=dict)
    protected: tuple[str, ...] = ()
    windows_s: tuple[tuple[float, float], ...] = ()

    def is_open(self, moment: datetime) -> bool:
        """Whether replicas may leave now. moment has a time zone."""
        return self.is_open_at(second_of_week_s(moment))

    def is_open_at(self, now_s: float) -> bool:
        """The same, at a second of the week."""
        return not self.windows_s or any(start_s <= now_s < end_s for start_s, end_s in self.windows_s)

    def opens(self, moment: datetime) -> str:
        """When the next window opens, in words.

        >>> DisruptionBudget(windows_s=((7200.0, 10800.0),)).opens(datetime(2026, 11, 29, 12, tzinfo=UTC))
        'Mon 02:00 UTC'
        """
        return in_words(self.next_opening_s(second_of_week_s(moment)))

    def next_opening_s(self, now_s: float) -> float:
        """The second of the week at which the next window opens; there is one."""
        return min((start_s for start_s, _ in self.windows_s), key=lambda start_s: (start_s - now_s) % WEEK_S)


def in_words(second: float) -> str:
    """A second of the week as people write it."""
    day, rest = divmod(second, _DAY_S)
    return f"{_DAYS[int(day) % 7]} {int(rest // 3600):02}:{int(rest % 3600 // 60):02} UTC"


def whole_week(stretches_s: Iterable[tuple[float, float]], *, daily: bool) -> tuple[tuple[float, float], ...]:
    """Stretches of a day repeated over the week, or those of a week as they are; in order.

    >>> len(whole_week([(0.0, 3600.0)], daily=True))
    7
    """
    days = range(7) if daily else (0,)
    return tuple(sorted((start_s + day * _DAY_S, end_s + day * _DAY_S) for day in days for start_s, end_s in stretches_s))


def second_of_week_s(moment: datetime) -> float:
    """Seconds since Monday, 00:00, UTC. moment has a time zone.

    >>> second_of_week_s(datetime(2026, 12, 1, 6, 30, tzinfo=UTC)) / 3600
    30.5
    """
    now = moment.astimezone(UTC)
    return now.weekday() * _DAY_S + now.hour * 3600.0 + now.minute * 60.0 + now.second
