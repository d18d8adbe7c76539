"""A history of demand and a forecast as text."""

from __future__ import annotations

from planner.demand.forecast import DemandForecast, SeasonalDemand
from planner.demand.recorded import HOUR_S, DemandHistory
from planner.demand.season import DAY_H
from ullage.views.words import table


def history_summary(history: DemandHistory) -> str:
    """A line per workload: how much was recorded, and of what size; ends in a newline."""
    rows: list[tuple[str, ...]] = [("workload", "hours", "mean req/s", "highest req/s")]
    for name, recorded in sorted(history.workloads.items()):
        known = [value for value in recorded.rate_rps if value is not None]
        hours = len(known) * history.step_s / HOUR_S
        rows.append((name, f"{hours:g}", f"{sum(known) / max(1, len(known)):.3g}", f"{max(known, default=0.0):.3g}"))
    return _lines(rows)


def forecast_text(forecast: DemandForecast) -> str:
    """A line per workload: what was taken, how it did on the held-out days, and the highest rate; ends in a newline."""
    rows: list[tuple[str, ...]] = [("workload", "taken", "error", "as last week", "in band", "highest req/s", "band")]
    for name, demand in sorted(forecast.workloads.items()):
        highest = f"{max(demand.rate_rps):.3g}", f"{max(demand.upper_rps):.3g}"
        rows.append((name, _taken(demand), *_tested(demand), *highest))
    test = next((demand.back_test for demand in forecast.workloads.values() if demand.back_test is not None), None)
    held = f" (error and band on the last {test.held_out_s / HOUR_S / DAY_H:g} d, forecast from what was before)" if test else ""
    return f"band: {forecast.band_quantile:g} of the hours{held}\n\n{_lines(rows)}"


def _taken(demand: SeasonalDemand) -> str:
    hours = len(demand.rate_rps)
    season = "" if hours == 1 else ", by hour of the day" if hours == DAY_H else ", by hour of the week"
    return f"{demand.method}{season}"


def _tested(demand: SeasonalDemand) -> tuple[str, str, str]:
    test = demand.back_test
    if test is None:
        return "-", "-", "-"
    compared = f"{test.compared_error_fraction:.0%}" + (" (yesterday)" if test.compared_with == "yesterday" else "")
    return f"{test.seasonal_error_fraction:.0%}", compared, f"{test.inside_fraction:.0%}"


def _lines(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(line.rstrip() for line in table(rows)) + "\n"
