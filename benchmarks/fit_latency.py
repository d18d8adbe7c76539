"""Fit the latency model to measured rows and write what ships: coefficients, bands and their source, one YAML file per engine.

    python -m benchmarks.fit_latency FILE.csv.gz --source TEXT -o profiles/latency/fits

The file is aiconfigurator's table of measured serving (benchmarks.latency_rows). The same file gives the same bytes. vLLM is fitted first;
the other engines start from it, since the GPUs are the same and only the kernels differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.latency_rows import ENGINES, Refused, Row, read_rows
from profiles.latency.fits import COEFFICIENT_NAMES, Coefficients, LatencyFit, fit_text
from profiles.latency.fitting import PRIORS, CoefficientPrior, Observation, bare_fit, fitted, left_out, predicted
from profiles.latency.residuals import residuals_by_distance
from profiles.latency.work import kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the fits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_latency", description="Fit the latency model to measured rows.")
    parser.add_argument("file", type=Path, help="table of measured rows, .csv or .csv.gz")
    parser.add_argument("--source", required=True, help="where the rows come from and under which licence")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the YAML files")
    options = parser.parse_args(arguments)
    for name, fit in fits(list(read_rows(options.file)), options.source):
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

    Left out are series with a row that the data sheet does not allow: what made it possible after all holds for the others too.
    """
    doubted = {item.series for item in read if isinstance(item, Refused) and item.impossible}
    once: dict[tuple[object, ...], Observation] = {}
    for row in read:
        if isinstance(row, Row) and row.engine == engine and row.series not in doubted:
            found = row.observation
            once.setdefault((found.fold, found.engine.gpu.name, found.load, round(found.tpot_s, 5), round(found.ttft_s, 4)), found)
    return list(once.values())


def centred(priors: Mapping[str, CoefficientPrior], found: Coefficients) -> dict[str, CoefficientPrior]:
    """The priors with their likely values at coefficients already found."""
    return {name: replace(priors[name], value=getattr(found, name)) for name in COEFFICIENT_NAMES}


def engine_fit(engine: str, rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], source: str) -> LatencyFit:
    """Coefficients of all rows, bands of rows left out."""
    found = fitted(rows, priors)
    judged = left_out(rows, lambda row: row.fold, priors, found)
    errors = [abs(predicted(row, fit).tpot_s / row.tpot_s - 1) for row, fit in judged]
    return replace(
        bare_fit(_rounded(found)),
        engine=engine,
        source=source,
        rows=len(rows),
        models=tuple(sorted({row.engine.architecture.name for row in rows})),
        gpus=tuple(sorted({row.engine.gpu.name for row in rows})),
        compute_capabilities=tuple(sorted({row.engine.gpu.compute_capability for row in rows})),
        kinds=tuple(sorted({kind(row.engine.architecture) for row in rows})),
        tpot_error_fraction=round(median(errors), 4),
        residuals=residuals_by_distance(rows, priors, found),
    )


def _rounded(found: Coefficients) -> Coefficients:
    """Five digits: no measurement carries more, and files stay equal where the last bit of a sum differs."""
    return Coefficients(**{name: float(f"{getattr(found, name):.5g}") for name in COEFFICIENT_NAMES})


if __name__ == "__main__":
    sys.exit(main())
