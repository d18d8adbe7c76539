"""How far the latency model is from measured serving, and how fast it is.

    python -m benchmarks.latency FILE.csv.gz [FILE ...] [--folds] [--rows] [--sweep]

The files are aiconfigurator's tables of measured serving (benchmarks.latency_rows says how their rows are read). Rows are judged with the
shipped fit of their engine; --folds also fits anew with each model, GPU type, generation and kind of model left out, and with each engine
and a fifth of the loads left out of what is known. Rows left out are judged with the shipped band of their distance from what was not,
and with bands made without all rows of their model or GPU type.
Printed by engine and by how far a row is from what the fit saw: rows, refused, median errors of TPOT and TTFT, and the share of rows
inside the stated p10 - p90 band. --sweep times the catalogue: 45 models, 16 GPU types, every tensor-parallel size, 5 loads. The last line
of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.fit_latency import usable
from benchmarks.latency_rows import ENGINES, Refused, Row, read_tables
from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.fits import DISTANCES, LatencyFit, fit_for
from profiles.latency.fitting import PRIORS, CoefficientPrior, Observation, centred
from profiles.latency.prediction import LatencyPrediction, PredictedEngine, predict_latency
from profiles.latency.residuals import FOLDS, Apart, held_out, residuals_by_distance, residuals_by_generation
from profiles.latency.steptime import distance
from profiles.settings import EngineSettings, UnsupportedError

_SWEPT_MODELS = 45
_SWEPT_GPUS = 16
_SWEPT_LOADS = (1.0, 8.0, 32.0, 128.0, 256.0)
_SWEPT_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Judged:
    """One row beside its prediction."""

    label: str
    distance: str
    predicted: LatencyPrediction
    ttft_s: float
    tpot_s: float

    @property
    def tpot_error_fraction(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted.tpot.p50_s / self.tpot_s - 1

    @property
    def ttft_error_fraction(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted.ttft.p50_s / self.ttft_s - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description="Error of the latency model against measured rows.")
    parser.add_argument("files", type=Path, nargs="+", help="tables of measured rows, .csv or .csv.gz")
    parser.add_argument("--folds", action="store_true", help="also fit anew with each model, GPU type, generation and kind left out")
    parser.add_argument("--rows", action="store_true", help="print every row")
    parser.add_argument("--sweep", action="store_true", help="time a sweep of the catalogue")
    options = parser.parse_args(arguments)
    try:
        read = list(read_tables(options.files))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    figures = judged_by_engine(read, options.rows)
    for reason, count in sorted(Counter(item.reason for item in read if isinstance(item, Refused)).items()):
        print(f"refused {count}: {reason}")
    if options.folds:
        figures["folds"] = folds(read)
    if options.sweep:
        figures["sweep"] = sweep()
    print(json.dumps(figures))
    return 0


def judged_by_engine(read: Sequence[Row | Refused], rows: bool) -> dict[str, object]:
    """Figures of every engine and of all rows together, printed on the way."""
    figures: dict[str, object] = {}
    every: list[Judged] = []
    for engine in sorted({item.engine for item in read}):
        found = [item for item in read if isinstance(item, Row) and item.engine == engine]
        refused = sum(isinstance(item, Refused) and item.engine == engine for item in read)
        if not found:
            figures[engine] = _told(engine, [], refused)
            continue
        fit = fit_for(engine)
        judged = [judge(item.observation, fit) for item in found]
        if rows:
            _print_rows(judged)
        figures[engine] = _told(engine, judged, refused)
        for far in sorted({item.distance for item in judged}):
            figures[f"{engine} {far}"] = _told(f"{engine} {far}", [item for item in judged if item.distance == far], 0)
        every += judged
    figures["all"] = _told("all", every, sum(isinstance(item, Refused) for item in read))
    return figures


def judge(row: Observation, fit: LatencyFit, far: str | None = None) -> Judged:
    """A row beside the fit's prediction; far None is how far the row is from what the fit saw."""
    engine = row.engine
    held = far or distance(engine.architecture, engine.gpu, engine.settings, engine.mig, fit, engine.data_parallel_size)
    # the band asked for is the one of every distance
    banded = replace(fit, residuals=dict.fromkeys(fit.residuals, fit.residuals_for(held, engine.gpu)), generation_residuals={})
    return Judged(row.label, held, predict_latency(engine, row.load, fit=banded, kv_tokens=row.kv_tokens), row.ttft_s, row.tpot_s)


def folds(read: Sequence[Row | Refused]) -> dict[str, object]:
    """Rows predicted without them, with the bands that ship: by engine, by how far they are from the others, by what was left out."""
    figures: dict[str, object] = {}
    priors: Mapping[str, CoefficientPrior] = PRIORS
    for engine in ENGINES:
        observed = usable(read, engine)
        shipped = fit_for(engine)
        groups: dict[str, list[Judged]] = {}
        apart = list(held_out(observed, priors, shipped.coefficients))
        for name, far, row, fit in apart:
            judged = judge(row, replace(shipped, coefficients=fit.coefficients, generations=fit.generations), far)
            groups.setdefault(f"{engine} {_UNSEEN[far]}", []).append(judged)
            if shipped.generation_residuals:
                groups.setdefault(f"{engine} {_UNSEEN[far]}: {row.engine.gpu.compute_capability}", []).append(judged)
            if name in FOLDS:
                groups.setdefault(f"{engine} {name} left out", []).append(judged)
                groups.setdefault(f"{engine} {name} left out: {_left_out_name(name, row)}", []).append(judged)
        for label, judged in _bands_apart([(far, row, fit) for _, far, row, fit in apart], shipped):
            groups.setdefault(f"{engine} {label}", []).append(judged)
        figures |= {label: _told(label, groups[label], 0) for label in sorted(groups)}
        if engine == ENGINES[0]:
            priors = centred(priors, shipped.coefficients)
    return figures


_UNSEEN = {
    "known": "known",
    "other_model": "unseen model",
    "other_gpu": "unseen GPU",
    "other_generation": "unseen generation",
    "other_kind": "unseen kind of seen parts",
    "roofline": "unseen kind",
}


def _bands_apart(apart: Sequence[Apart], shipped: LatencyFit) -> Iterator[tuple[str, Judged]]:
    """Rows far from what took part, judged with bands that were made without any row of their model, or of their GPU type."""
    for name, nearest in (("model", 1), ("GPU", 2)):
        for value in sorted({FOLDS[name](row) for _, row, _ in apart}):
            rest = [item for item in apart if FOLDS[name](item[1]) != value]
            if not rest:
                continue
            bands = replace(shipped, residuals=residuals_by_distance(rest), generation_residuals=residuals_by_generation(rest))
            for far, row, fit in apart:
                if FOLDS[name](row) == value and DISTANCES.index(far) >= nearest:
                    judged = judge(row, replace(bands, coefficients=fit.coefficients, generations=fit.generations), far)
                    yield f"{_UNSEEN[far]}, bands made without the {name}", judged


def _left_out_name(fold: str, row: Observation) -> str:
    return row.engine.architecture.name if fold == "model" else FOLDS[fold](row)


def _told(label: str, judged: Sequence[Judged], refused: int) -> dict[str, object]:
    """Print one line and return its figures."""
    figures: dict[str, object] = {"rows": len(judged) + refused, "refused": refused}
    if judged:
        figures |= {
            "tpot_median_abs_error_fraction": _rounded(median(abs(item.tpot_error_fraction) for item in judged)),
            "ttft_median_abs_error_fraction": _rounded(median(abs(item.ttft_error_fraction) for item in judged)),
            "tpot_inside_fraction": _rounded(sum(item.predicted.tpot.holds(item.tpot_s) for item in judged) / len(judged)),
            "ttft_inside_fraction": _rounded(sum(item.predicted.ttft.holds(item.ttft_s) for item in judged) / len(judged)),
        }
    print(f"{label:44s} " + "  ".join(f"{name.removesuffix('_fraction')} {value}" for name, value in figures.items()))
    return figures


def _rounded(value: float) -> float:
    return round(value, 4)


def _print_rows(judged: Sequence[Judged]) -> None:
    for item in judged:
        print(f"TPOT {item.tpot_error_fraction:+7.1%}  TTFT {item.ttft_error_fraction:+7.1%}  {item.distance:16s} {item.label}")


def sweep() -> dict[str, object]:
    """Seconds to predict every model on every GPU type that can run it, at every tensor-parallel size and load."""
    engines = list(_swept_engines())
    fit_for()
    started_s = perf_counter()
    predictions = impossible = 0
    for engine in engines:
        try:
            kv_tokens = engine.kv_tokens()
            for clients in _SWEPT_LOADS:
                predict_latency(engine, ClosedLoop(1000, 200, clients), kv_tokens=kv_tokens)
                predictions += 1
        except UnsupportedError:
            impossible += 1
    elapsed_s = perf_counter() - started_s
    print(f"sweep: {predictions} predictions in {elapsed_s:.2f} s, {impossible} of {len(engines)} engines cannot run")
    return {"predictions": predictions, "impossible_engines": impossible, "elapsed_s": _rounded(elapsed_s)}


def _swept_engines() -> Iterator[PredictedEngine]:
    catalogue = builtin()
    for model in catalogue.model_names[:_SWEPT_MODELS]:
        architecture = catalogue.model(model)
        for gpu in catalogue.gpu_names[:_SWEPT_GPUS]:
            for size in _SWEPT_SIZES:
                limits = min(8192, architecture.max_position)
                yield PredictedEngine(architecture, catalogue.gpu(gpu), EngineSettings(tensor_parallel_size=size, max_model_len=limits))


if __name__ == "__main__":
    sys.exit(main())
