"""How well is the demand of the next days forecast, compared with taking last week's?

    python -m benchmarks.forecast FILE.parquet [--days 10,11,12] [--holdout-days 2] [--band 0.9]

FILE has the columns model, client, t_s and rate_rps: requests/s of a client from t_s on, for as long as the steps between times are. Times
that are left out had no requests, or hardly any (ServeGen leaves out 10 minutes with fewer than 10). For each number of days, the demand of
each client (and of each model, its clients together) is forecast from the first days, as `ullage demand forecast` does: the method is
chosen by a back-test within these days. Then it is compared with the days that follow, which it has not seen. The last line of standard
output is one JSON object; an error is the sum of absolute errors over all that was asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from planner.demand.back_test import back_test
from planner.demand.recorded import HOUR_S, WEEK_H, Values
from planner.demand.season import DAY_H, Method, as_last_week, margins, seasonal

COLUMNS = ("model", "client", "t_s", "rate_rps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per group and number of days, then one JSON object; 2 when the file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast")
    parser.add_argument("file", type=Path)
    parser.add_argument("--days", default="10,11,12")
    parser.add_argument("--holdout-days", type=int, default=2)
    parser.add_argument("--band", type=float, default=0.9)
    options = parser.parse_args(arguments)
    try:
        clients = hourly_rates(options.file)
        days = [int(text) for text in options.days.split(",")]
        groups = {"clients": list(clients.values()), "models": list(_together(clients).values())}
        found = {name: figures(rows, days, options.holdout_days * DAY_H, options.band) for name, rows in groups.items()}
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    print(json.dumps({**found, "band_quantile": options.band}, sort_keys=True))
    return 0


def hourly_rates(path: Path) -> dict[tuple[str, int], Values]:
    """Requests/s of each client by the hour, all over the same hours; ValueError names the file and column that is wrong."""
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: not a readable parquet file") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
    models, numbers, times_s, rates_rps = (table[name].to_pylist() for name in COLUMNS)
    steps_s = sorted(set(times_s))
    if len(steps_s) < 2 or min(steps_s) < 0:
        raise ValueError(f"{path}: t_s: needs two times at least, none below 0")
    step_s = min(later - earlier for earlier, later in pairwise(steps_s))
    if HOUR_S % step_s:
        raise ValueError(f"{path}: t_s: steps of {step_s} s do not divide an hour")
    hours = int(steps_s[-1] // HOUR_S) + 1
    found: defaultdict[tuple[str, int], Values] = defaultdict(lambda: np.zeros(hours))
    for model, number, time_s, rate_rps in zip(models, numbers, times_s, rates_rps, strict=True):
        found[model, number][int(time_s // HOUR_S)] += rate_rps * step_s / HOUR_S
    return dict(found)


def _together(clients: dict[tuple[str, int], Values]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for (model, _), rates_rps in clients.items():
        found[model] = found.get(model, 0.0) + rates_rps
    return found


def figures(rows: Sequence[Values], days: Sequence[int], holdout_h: int, quantile: float) -> dict[str, float]:
    """Errors over all rows and numbers of days; ValueError where the file is too short."""
    errors = dict.fromkeys(("seasonal", "last_week", "taken"), 0.0)
    asked, band, inside, hours = 0.0, 0.0, 0, 0
    for count in days:
        end = count * DAY_H
        if end < WEEK_H or end + holdout_h > len(rows[0]):
            raise ValueError(f"{count} days and {holdout_h} hours held out: needs a week at least, and there are {len(rows[0])} hours")
        for rates_rps in rows:
            before, actual = rates_rps[:end], rates_rps[end : end + holdout_h]
            test = back_test(before, holdout_h, quantile)
            taken: Method = as_last_week if test and test.compared_error_fraction < test.seasonal_error_fraction else seasonal
            missed = {
                name: float(np.abs(method(before, holdout_h) - actual).sum())
                for name, method in (("seasonal", seasonal), ("last_week", as_last_week), ("taken", taken))
            }
            errors = {name: errors[name] + missed[name] for name in errors}
            upper = taken(before, holdout_h) + margins(before, taken, quantile)[np.arange(holdout_h) % DAY_H]
            asked, band = asked + float(actual.sum()), band + float(upper.sum())
            inside, hours = inside + int((actual <= upper * (1 + 1e-9)).sum()), hours + holdout_h
    fractions = {f"{name}_error_fraction": round(value / asked, 4) for name, value in errors.items()}
    return {
        **fractions,
        "inside_fraction": round(inside / hours, 4),
        "band_over_demand": round(band / asked, 3),
        "series": len(rows),
    }


if __name__ == "__main__":
    sys.exit(main())
