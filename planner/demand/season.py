"""How demand repeats itself by the hour of the day and of the week, and how far above that it may go.

Values are by the hour, not-a-number where nothing was recorded. What follows them is said from their end on. Everything rests on medians
of the same hours before: a single burst, or an hour without a record, moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from planner.demand.recorded import WEEK_H, Values

DAY_H = 24
# Fewer hours say nothing about the hours of a day.
LEAST_SEASONAL_H = 2 * DAY_H
# What is older says more about the past than about next week.
_DAYS, _WEEKS = 7, 4
# How much of the week there may be in a forecast, beside the day; the first of equally good ones is taken.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Fewer days with a week before them do not tell whether last week's hours say more than yesterday's.
_LEAST_LEARNED_DAYS = 3
# Errors of neighbouring hours are alike: with three on each side a week gives 49 for each hour of the day.
_NEIGHBOUR_H = 3

Method = Callable[[Values, int], Values]


def seasonal(values: Values, hours: int) -> Values:
    """The hours that follow: medians of the same hour of the day, and of the week as far as that was the better guess in the last days."""
    if len(values) < LEAST_SEASONAL_H:
        return np.full(hours, middle(values))
    return _blend(values, hours, week_share(values))


def as_last_week(values: Values, hours: int) -> Values:
    """The same hours a week before; of yesterday where there is no week, and the median of the hour where nothing was recorded."""
    period_h = WEEK_H if len(values) >= WEEK_H else DAY_H
    if len(values) < period_h:
        return np.full(hours, middle(values))
    same = values[len(values) - period_h + np.arange(hours) % period_h]
    return np.where(np.isnan(same), day_profile(values, hours), same)


def day_profile(values: Values, hours: int) -> Values:
    """Medians of the same hour of the day in the last seven days."""
    found = _medians(values, DAY_H, _DAYS)[np.arange(hours) % DAY_H]
    return np.where(np.isnan(found), middle(values), found)


def middle(values: Values) -> float:
    """The median of the last seven days, else of all that was recorded; not-a-number without a record."""
    for some in (values[-_DAYS * DAY_H :], values):
        known = some[~np.isnan(some)]
        if len(known):
            return float(np.median(known))
    return math.nan


def week_share(values: Values) -> float:
    """How much the hours of the week count beside those of the day: what would have been best on each of the last seven days."""
    starts = [start for start in range(len(values) - _DAYS * DAY_H, len(values), DAY_H) if start >= WEEK_H]
    if len(starts) < _LEAST_LEARNED_DAYS:
        return 0.0
    errors = np.zeros(len(_SHARES))
    for start in starts:
        actual = values[start : start + DAY_H]
        errors += [np.nansum(np.abs(actual - _blend(values[:start], DAY_H, share))) for share in _SHARES]
    return _SHARES[int(np.argmin(errors))]


def margins(values: Values, method: Method, quantile: float) -> Values:
    """By how much each of the 24 hours after the end may exceed the method's forecast, with this chance not to be exceeded; at least 0.

    From the errors of the last seven days, each forecast from what was before it. The rank is that of conformal prediction: of n errors
    the (n + 1) * quantile-th.
    """
    starts = [start for start in range(len(values) - _DAYS * DAY_H, len(values), DAY_H) if start >= LEAST_SEASONAL_H]
    if not starts:
        errors = values - middle(values)
        return np.full(DAY_H, _rank(errors, quantile, 0.0))
    rows = np.array([values[start : start + DAY_H] - method(values[:start], DAY_H) for start in starts])
    whole = _rank(rows, quantile, 0.0)
    near = [np.roll(rows, shift, axis=1) for shift in range(-_NEIGHBOUR_H, _NEIGHBOUR_H + 1)]
    return np.array([_rank(column, quantile, whole) for column in np.concatenate(near).T])


def _blend(values: Values, hours: int, share: float) -> Values:
    day = day_profile(values, hours)
    if not share:
        return day
    week = _medians(values, WEEK_H, _WEEKS)[np.arange(hours) % WEEK_H]
    return np.where(np.isnan(week), day, share * week + (1 - share) * day)


def _medians(values: Values, period: int, most: int) -> Values:
    """Medians of the last repetitions, by the position after the end; a first one that is not whole counts with what it has."""
    count = max(1, min(most, -(-len(values) // period)))
    used = values[-count * period :]
    rows = np.concatenate([np.full(count * period - len(used), np.nan), used]).reshape(count, period)
    found = np.full(period, np.nan)
    known = ~np.isnan(rows).all(axis=0)
    found[known] = np.nanmedian(rows[:, known], axis=0)
    return found


def _rank(errors: Values, quantile: float, unknown: float) -> float:
    known = np.sort(errors[~np.isnan(errors)])
    if not len(known):
        return unknown
    return max(0.0, float(known[min(len(known), math.ceil((len(known) + 1) * quantile)) - 1]))
