"""Bands from residuals: how far measurements were from predictions that had not seen them, by how different the seen ones were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from profiles.latency.fits import Coefficients, LatencyFit, Quantiles, Residuals
from profiles.latency.fitting import CoefficientPrior, Observation, left_out, predicted
from profiles.latency.steptime import multiplier

# Quantiles that are stated; with 94 rows the outermost ones are the second largest residual.
_STATED = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_DIGITS = 4
# Few models and two GPU types of one generation took part: what is unlike them may differ by more than they do from each other. The factors
# widen the logarithms. Of another generation no rows are at hand: twice the spread is assumed (docs/latency.md says what speaks for it).
# Of other kinds of models there are the rows of other engines: vLLM's fit, which saw dense models only, meets 68 rows of mixtures of
# experts under SGLang and TensorRT-LLM with measured over predicted TPOT of 0.75, 1.00 and 1.32 at p10, p50, p90: three times the spread.
_OTHER_MODEL_WIDENING = 1.2
_OTHER_GENERATION_WIDENING = 2.0
_ROOFLINE_WIDENING = 3.0
# Parts that rows are divided into, to leave out loads of engines that are otherwise seen.
_PARTS = 5
# A multiplier beyond this says nothing any more.
_LARGEST = 20.0


def engine_key(row: Observation) -> str:
    """Rows of one engine configuration: model, GPU type and ranks."""
    return (
        f"{row.engine.architecture.name} {row.engine.gpu.name} {row.engine.settings.tensor_parallel_size} {row.engine.data_parallel_size}"
    )


def residuals_by_distance(rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], start: Coefficients) -> dict[str, Residuals]:
    """Residuals of each of DISTANCES: of rows whose engine, model or GPU type took no part in the fit; further out, widened.

    Of a known model on a known GPU type half of them are of engines that took part at other loads.
    """
    part = {row.label: str(place % _PARTS) for place, row in enumerate(rows)}
    other_loads = left_out(rows, lambda row: part[row.label], priors, start)
    known = _residuals([*left_out(rows, engine_key, priors, start), *other_loads])
    other_model = _residuals(left_out(rows, lambda row: row.fold, priors, start))
    gpu_types = {row.engine.gpu.name for row in rows}
    other_gpu = _residuals(left_out(rows, lambda row: row.engine.gpu.name, priors, start)) if len(gpu_types) > 1 else other_model
    other_gpu = Residuals(
        _wide_one(other_gpu.tpot_quantiles, other_model.tpot_quantiles), _wide_one(other_gpu.ttft_quantiles, other_model.ttft_quantiles)
    )
    return {
        "known": known,
        "other_model": _wider(other_model, _OTHER_MODEL_WIDENING),
        "other_gpu": _wider(other_gpu, _OTHER_MODEL_WIDENING),
        "other_generation": _wider(other_gpu, _OTHER_GENERATION_WIDENING),
        "roofline": _wider(other_gpu, _ROOFLINE_WIDENING),
    }


def _residuals(judged: Sequence[tuple[Observation, LatencyFit]]) -> Residuals:
    tpot: list[float] = []
    ttft: list[float] = []
    for row, fit in judged:
        latency = predicted(row, fit)
        tpot.append(row.tpot_s / latency.tpot_s)
        ttft.append(row.ttft_s / latency.ttft_s)
    return Residuals(quantiles_of(tpot), quantiles_of(ttft))


def quantiles_of(values: Sequence[float]) -> Quantiles:
    """The stated quantiles of a sample, linear between its sorted values."""
    ordered = sorted(values)
    found: list[tuple[float, float]] = []
    for probability in _STATED:
        place = probability * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        value = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
        found.append((probability, round(value, _DIGITS)))
    return tuple(found)


def width(quantiles: Quantiles) -> float:
    """Logarithm of p90 over p10."""
    return math.log(multiplier(quantiles, 0.9) / multiplier(quantiles, 0.1))


def _wide_one(first: Quantiles, second: Quantiles) -> Quantiles:
    return first if width(first) >= width(second) else second


def _wider(residuals: Residuals, factor: float) -> Residuals:
    return Residuals(widened(residuals.tpot_quantiles, factor), widened(residuals.ttft_quantiles, factor))


def widened(quantiles: Quantiles, factor: float) -> Quantiles:
    """The quantiles with `factor` times the spread of their logarithms about the median, at most twentyfold from it."""
    middle = multiplier(quantiles, 0.5)
    spread = (middle * min(max((value / middle) ** factor, 1 / _LARGEST), _LARGEST) for _, value in quantiles)
    return tuple((probability, round(value, _DIGITS)) for (probability, _), value in zip(quantiles, spread, strict=True))
