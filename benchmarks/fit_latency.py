"""Fit the latency model to measured rows and write what ships: coefficients, bands and their source, one YAML file per engine.

    python -m benchmarks.fit_latency FILE.csv.gz [FILE ...] --source TEXT -o profiles/latency/fits

The files are aiconfigurator's tables of measured serving (benchmarks.latency_rows). The same files give the same bytes. vLLM is fitted
first; the other engines start from it, since the GPUs are the same and only the kernels differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.latency_rows import ENGINES, Refused, Row, read_tables
from profiles.latency.fits import COEFFICIENT_NAMES, Coefficients, LatencyFit, fit_text
from profiles.latency.fitting import PRIORS, CoefficientPrior, Observation, centred, fit_of, fitted, left_out, predicted
from profiles.latency.residuals import held_out, residuals_by_distance, residuals_by_generation

# Requests in the engine, of those that have a place, below which a row's load is not as stated; the pool is known to about a quarter.
_RUNNING_FRACTION = 0.7


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the fits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_latency", description="Fit the latency model to measured rows.")
    parser.add_argument("files", type=Path, nargs="+", help="tables of measured rows, .csv or .csv.gz")
    parser.add_argument("--source", required=True, help="where the rows come from and under which licence")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the YAML files")
    options = parser.parse_args(arguments)
    for name, fit in fits(list(read_tables(options.files)), options.source):
        (options.output / f"{name}.yaml").write_text(fit_text(fit), encoding="utf-8")
        print(f"{name}: {fit.rows} rows, median TPOT error of models left out {fit.tpot_error_fraction:.1%}")
    return 0


def fits(read: Sequence[Row | Refused], source: str) -> list[tuple[str, LatencyFit]]:
    """The fit of each engine that has rows, in a fixed order."""
    found: list[tuple[str, LatencyFit]] = []
    priors = PRIORS
    for engine in ENGINES:
        observed = usable(read, engine)
        if observed:
            fit = engine_fit(engine, observed, priors, source)
            found.append((engine, fit))
            if engine == ENGINES[0]:
                priors = centred(priors, fit.coefficients)
    return found


def usable(read: Sequence[Row | Refused], engine: str) -> list[Observation]:
    """An engine's rows, each measurement once though the table may list it under several names.

    Left out are series with a row that the data sheet does not allow: what made it possible after all holds for the others too; and rows of
    vLLM, whose KV pool is modelled, of which more requests waited than the pool makes wait: its clients or places were others than stated.
    """
    doubted = {item.series for item in read if isinstance(item, Refused) and item.impossible}
    once: dict[tuple[object, ...], Observation] = {}
    for row in read:
        if isinstance(row, Row) and row.engine == engine and row.series not in doubted:
            found = row.observation
            if engine == ENGINES[0] and _waits_elsewhere(found):
                continue
            once.setdefault((found.fold, found.engine.gpu.name, found.load, round(found.tpot_s, 5), round(found.ttft_s, 4)), found)
    return list(once.values())


def _waits_elsewhere(row: Observation) -> bool:
    """Whether far fewer requests ran than there was room for; by Little's law clients wait and run in the ratio of the times they take."""
    running = row.load.concurrency / (1 + row.ttft_s / (row.tpot_s * row.load.output_tokens))
    places = min(row.load.concurrency, row.kv_tokens / (row.load.input_tokens + row.load.output_tokens / 2))
    return running < _RUNNING_FRACTION * places


def engine_fit(engine: str, rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], source: str) -> LatencyFit:
    """Coefficients of all rows, bands of rows left out."""
    found = fitted(rows, priors)
    whole = fit_of(rows, priors, found)
    judged = left_out(rows, lambda row: row.fold, priors, found)
    rows_apart = [(far, row, fit) for _, far, row, fit in held_out(rows, priors, found)]
    errors = [abs(predicted(row, fit).tpot_s / row.tpot_s - 1) for row, fit in judged]
    return replace(
        whole,
        engine=engine,
        source=source,
        coefficients=_rounded(whole.coefficients),
        generations={name: _rounded(of_one) for name, of_one in whole.generations.items()},
        tpot_error_fraction=round(median(errors), 4),
        residuals=residuals_by_distance(rows_apart),
        generation_residuals=residuals_by_generation(rows_apart),
    )


def _rounded(found: Coefficients) -> Coefficients:
    """Five digits: no measurement carries more, and files stay equal where the last bit of a sum differs."""
    return Coefficients(**{name: float(f"{getattr(found, name):.5g}") for name in COEFFICIENT_NAMES})


if __name__ == "__main__":
    sys.exit(main())
