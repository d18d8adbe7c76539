"""A forecast of each workload from its history, by the method that forecast the held-out days better."""

from __future__ import annotations

from typing import Literal

import numpy as np

from planner.demand.forecast import SEASONS_H, BackTest, DemandForecast, SeasonalDemand
from planner.demand.recorded import HOUR_S, LENGTHS, WEEK_H, DemandHistory, Tell, Values, hourly, rounded
from planner.demand.season import DAY_H, LEAST_SEASONAL_H, Method, as_last_week, day_profile, margins, seasonal


def forecast_of(history: DemandHistory, *, holdout_h: int, quantile: float, warn: Tell) -> DemandForecast:
    """The forecast of all workloads that had requests; warn hears of the others, and of what stays untested.

    Raises ValueError where no workload had any.
    """
    found: dict[str, SeasonalDemand] = {}
    for name, recorded in sorted(history.workloads.items()):
        by_hour = hourly(history, recorded)
        rates_rps = by_hour["rate_rps"]
        if not np.nansum(rates_rps):
            known = int((~np.isnan(rates_rps)).sum())
            warn(f"{name}: no requests in the {known} hours that were recorded; it is left out")
            continue
        demand = _of_workload(name, by_hour, history.first_hour, holdout_h, quantile, warn)
        if demand is not None:
            found[name] = demand
    if not found:
        raise ValueError("no workload of this history had requests; there is nothing to forecast")
    return DemandForecast(history_start=history.start, history_s=history.span_s, band_quantile=quantile, workloads=found)


def back_test(rates_rps: Values, holdout_h: int, quantile: float) -> BackTest | None:
    """The last hours forecast from those before; None where those are too few, or nothing was asked in the held-out ones."""
    before, actual = rates_rps[:-holdout_h], rates_rps[-holdout_h:]
    if len(before) < LEAST_SEASONAL_H or not np.nansum(actual) or np.isnan(before).all():
        return None
    errors = {method: _error(method(before, holdout_h), actual) for method in (seasonal, as_last_week)}
    taken: Method = seasonal if errors[seasonal] <= errors[as_last_week] else as_last_week
    upper = taken(before, holdout_h) + margins(before, taken, quantile)[np.arange(holdout_h) % DAY_H]
    known = ~np.isnan(actual)
    return BackTest(
        held_out_s=holdout_h * HOUR_S,
        compared_with="last week" if len(before) >= WEEK_H else "yesterday",
        seasonal_error_fraction=rounded(errors[seasonal]),
        compared_error_fraction=rounded(errors[as_last_week]),
        # the sixth digit is that of a file, so it does not decide whether an hour is inside
        inside_fraction=rounded(float((actual[known] <= upper[known] * (1 + 1e-9)).mean())),
    )


def _error(forecast: Values, actual: Values) -> float:
    return float(np.nansum(np.abs(actual - forecast)) / np.nansum(actual))


def _of_workload(
    name: str, by_hour: dict[str, Values], first_hour: int, holdout_h: int, quantile: float, warn: Tell
) -> SeasonalDemand | None:
    rates_rps = by_hour["rate_rps"]
    flat = len(rates_rps) < LEAST_SEASONAL_H
    tested = back_test(rates_rps, holdout_h, quantile)
    if flat:
        warn(f"{name}: {len(rates_rps)} hours of history are too few for a season, which takes {LEAST_SEASONAL_H}; the forecast is flat")
    elif len(rates_rps) < holdout_h + LEAST_SEASONAL_H:
        need = holdout_h + LEAST_SEASONAL_H
        warn(f"{name}: no back-test: {holdout_h} hours held out take {need} hours of history, there are {len(rates_rps)}")
    elif tested is None:
        warn(f"{name}: no back-test: no requests in the {holdout_h} hours held out, or no record before them")
    worse = tested is not None and tested.compared_error_fraction < tested.seasonal_error_fraction
    method = as_last_week if worse else seasonal
    expected = np.maximum(method(rates_rps, WEEK_H), 0.0)
    upper = expected + np.tile(margins(rates_rps, method, quantile), WEEK_H // DAY_H)
    if not upper.any():
        warn(f"{name}: requests in so few hours that the band of {quantile:g} is 0 in every hour; it is left out")
        return None
    columns = {"rate_rps": expected, "upper_rps": upper}
    columns |= {field: lengths for field in LENGTHS if len(lengths := _lengths(by_hour[field]))}
    turn = (first_hour + len(rates_rps)) % WEEK_H
    # from the hour that follows the history to Monday's first
    seasons = _shortest({field: tuple(rounded(float(value)) for value in np.roll(values, turn)) for field, values in columns.items()})
    said: Literal["seasonal", "as last week", "flat"] = "flat" if flat else "as last week" if worse else "seasonal"
    return SeasonalDemand(method=said, back_test=tested, **{**dict.fromkeys(LENGTHS, ()), **seasons})


def _lengths(tokens: Values) -> Values:
    """Lengths by the hour that follows: medians of the same hour of the day; none where nothing was recorded."""
    return np.array([]) if np.isnan(tokens).all() else day_profile(tokens, WEEK_H)


def _shortest(columns: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """The columns of one season: of the shortest of which the week is a repetition."""
    for season_h in SEASONS_H:
        if all(values == values[:season_h] * (WEEK_H // season_h) for values in columns.values()):
            return {field: values[:season_h] for field, values in columns.items()}
    return columns
