"""Bands from residuals: how far measurements were from predictions that had not seen them, by how different the seen ones were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from profiles.latency.fits import DISTANCES, NEAR_DISTANCES, Coefficients, LatencyFit, Quantiles, Residuals
from profiles.latency.fitting import CoefficientPrior, Observation, fit_of, left_out, predicted
from profiles.latency.steptime import multiplier
from profiles.latency.work import kind

# Quantiles that are stated; with 266 rows the outermost ones are about the third largest residual.
_STATED = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_DIGITS = 4
# Three models and three GPU types took part: what is unlike them may differ by more than they do from each other. The factor widens the
# logarithms of what was measured in part. The farthest distance is not widened: it is judged by rows of a kind with parts of which the fit
# knew nothing but priors, and is wide for that.
_UNMEASURED_WIDENING = 1.2
# Where an engine has no rows to judge a distance by, the band of the next one that has rows is taken; where there is none further out
# either, twice the spread of the nearer one is assumed.
_UNTESTED_WIDENING = 2.0
# Parts that rows are divided into, to leave out loads of engines that are otherwise seen.
_PARTS = 5
# A multiplier beyond this says nothing any more.
_LARGEST = 20.0


def engine_key(row: Observation) -> str:
    """Rows of one engine configuration: model, GPU type and ranks."""
    return (
        f"{row.engine.architecture.name} {row.engine.gpu.name} {row.engine.settings.tensor_parallel_size} {row.engine.data_parallel_size}"
    )


# What is left out of a fit to judge it, by name: all rows that share the key go together.
FOLDS: Mapping[str, Callable[[Observation], str]] = {
    "model": lambda row: row.fold,
    "GPU": lambda row: row.engine.gpu.name,
    "generation": lambda row: row.engine.gpu.compute_capability,
    "kind": lambda row: kind(row.engine.architecture),
}


def held_out(
    rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], start: Coefficients
) -> Iterator[tuple[str, str, Observation, LatencyFit]]:
    """What was left out (of FOLDS, or "engine" and "loads" of known ones), the distance from what was not, the row, the fit without it.

    Rows that are all of a model and all of its kind, say, are left out once, under the first name.
    """
    part = {row.label: str(place % _PARTS) for place, row in enumerate(rows)}
    for name, known in (("engine", engine_key), ("loads", lambda row: part[row.label])):
        for row, fit in left_out(rows, known, priors, start):
            yield name, "known", row, fit
    told: set[tuple[str, ...]] = set()
    for name, fold in FOLDS.items():
        for value in sorted({fold(row) for row in rows}):
            without = [row for row in rows if fold(row) == value]
            labels = tuple(row.label for row in without)
            if labels in told or len(without) == len(rows):
                continue
            told.add(labels)
            fit = fit_of([row for row in rows if fold(row) != value], priors, start)
            for row in without:
                yield name, fit.distance(row.engine.architecture.name, row.engine.gpu, kind(row.engine.architecture)), row, fit


Apart = tuple[str, Observation, LatencyFit]
"""A row with its distance (one of DISTANCES) from the rows of the fit it is judged by."""


def residuals_by_distance(judged: Sequence[Apart]) -> dict[str, Residuals]:
    """Residuals of each of DISTANCES: of rows that were at this distance from those that took part in the fit; some must be known.

    Of a known model on a known GPU type half of them are of engines that took part at other loads, and their quantiles are stated as they
    are. The others are of few models and GPU types, so which way they were off says little of the next: their bands reach as far to
    either side. None is narrower than a nearer one.
    """
    ratios = {name: _ratios([(row, fit) for far, row, fit in judged if far == name]) for name in DISTANCES}
    tpot, ttft = ratios["known"]
    nearer = Residuals(quantiles_of(tpot), quantiles_of(ttft))
    found = {"known": nearer}
    for place, far in enumerate(DISTANCES[1:], start=1):
        tested = next((name for name in DISTANCES[place:] if ratios[name][0]), None)
        if tested:
            factor = 1.0 if tested == DISTANCES[-1] else _UNMEASURED_WIDENING
            sides = [widened(even_quantiles_of(side), factor) for side in ratios[tested]]
        else:
            sides = [widened(quantiles, _UNTESTED_WIDENING) for quantiles in (nearer.tpot_quantiles, nearer.ttft_quantiles)]
        nearer = Residuals(_wide_one(sides[0], nearer.tpot_quantiles), _wide_one(sides[1], nearer.ttft_quantiles))
        found[far] = nearer
    return found


def residuals_by_generation(judged: Sequence[Apart]) -> dict[str, dict[str, Residuals]]:
    """Residuals of NEAR_DISTANCES on each generation of GPUs (compute capability), of its own rows; empty where there is one generation.

    Rows repeat better on some generations than on others. Further out the rows of one generation are of one or two models: those of all
    generations say more there.
    """
    names = sorted({row.engine.gpu.compute_capability for _, row, _ in judged})
    found: dict[str, dict[str, Residuals]] = {}
    for name in names if len(names) > 1 else ():
        held = residuals_by_distance([item for item in judged if item[1].engine.gpu.compute_capability == name])
        found[name] = {far: held[far] for far in NEAR_DISTANCES}
    return found


def _ratios(judged: Sequence[tuple[Observation, LatencyFit]]) -> tuple[list[float], list[float]]:
    """Measured over predicted TPOT and TTFT."""
    latencies = [(row, predicted(row, fit)) for row, fit in judged]
    return [row.tpot_s / latency.tpot_s for row, latency in latencies], [row.ttft_s / latency.ttft_s for row, latency in latencies]


def quantiles_of(values: Sequence[float]) -> Quantiles:
    """The stated quantiles of a sample, linear between its sorted values."""
    ordered = sorted(values)
    return tuple((probability, round(_quantile(ordered, probability), _DIGITS)) for probability in _STATED)


def even_quantiles_of(values: Sequence[float]) -> Quantiles:
    """Quantiles of a sample of ratios, as if it were even about 1: p90 and p10 hold the 80 % of it that are nearest to 1."""
    ordered = sorted(abs(math.log(value)) for value in values)
    sides = ((probability, math.copysign(1.0, probability - 0.5) * _quantile(ordered, abs(2 * probability - 1))) for probability in _STATED)
    return tuple((probability, round(1.0 if probability == 0.5 else math.exp(side), _DIGITS)) for probability, side in sides)


def _quantile(ordered: Sequence[float], probability: float) -> float:
    place = probability * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def width(quantiles: Quantiles) -> float:
    """Logarithm of p90 over p10."""
    return math.log(multiplier(quantiles, 0.9) / multiplier(quantiles, 0.1))


def _wide_one(first: Quantiles, second: Quantiles) -> Quantiles:
    return first if width(first) >= width(second) else second


def widened(quantiles: Quantiles, factor: float) -> Quantiles:
    """The quantiles with `factor` times the spread of their logarithms about the median, at most twentyfold from it."""
    middle = multiplier(quantiles, 0.5)
    spread = (middle * min(max((value / middle) ** factor, 1 / _LARGEST), _LARGEST) for _, value in quantiles)
    return tuple((probability, round(value, _DIGITS)) for (probability, _), value in zip(quantiles, spread, strict=True))
