"""Fits the coefficients of the latency model to measured rows: robust, with priors and bounds, the same result every time.

Each row gives two residuals, the logarithms of predicted over measured TPOT and TTFT. Huber's loss keeps single rows from pulling, a prior
per coefficient keeps what the rows do not determine near what is known, bounds keep it physical. Minimised by Levenberg and Marquardt's
method over the logarithms of the coefficients, projected on the bounds; plain Python, since there are few of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from profiles.latency.closed_loop import ClosedLoop, ClosedLoopLatency
from profiles.latency.fits import COEFFICIENT_NAMES, DISTANCES, Coefficients, FittedPair, LatencyFit, Residuals
from profiles.latency.linear import solve
from profiles.latency.prediction import PredictedEngine
from profiles.latency.work import kind

# Noise of a row's TPOT: runs of one configuration repeat within 1 - 3 % and the model's form adds as much again. TTFT means rest on fewer
# events and on the client: they count a quarter.
_NOISE = 0.06
_TTFT_WEIGHT = 0.25
# Residuals beyond this many noises count linearly (Huber).
_HUBER = 1.5
_ITERATIONS = 40
_DAMPINGS = 10
# Step of the numerical derivative, in logarithms.
_STEP = 1e-4
# No coefficient moves more than a factor of two in one iteration.
_LARGEST_MOVE = 0.7
_TOLERANCE_FRACTION = 1e-4


@dataclass(frozen=True, slots=True)
class CoefficientPrior:
    """What is known of a coefficient before any row: its likely value, the spread of its logarithm, and bounds."""

    value: float
    spread: float
    low: float
    high: float


# Reached fractions of peak rates: STREAM-like reads reach 0.90 - 0.93 of H100's memory, large cuBLAS products 0.65 - 0.8 of peak and fp8
# ones 10 - 15 % less (both throttled by power), FlashAttention-3 0.4 - 0.65 for causal prompts (arXiv 2407.08608), NCCL rings half of the
# one-way link. Fixed parts: vLLM's own step profile (scheduling, inputs, sampling) takes 1 - 3 ms, a kernel behind a CUDA graph 1 - 3 us,
# of which a layer has about ten; a small NCCL all-reduce takes 8 - 20 us. Of the closed loop nothing is known but orders of magnitude.
PRIORS: Mapping[str, CoefficientPrior] = {
    "bandwidth_fraction": CoefficientPrior(0.82, 0.08, 0.6, 0.93),
    "kv_bandwidth_fraction": CoefficientPrior(0.75, 0.15, 0.3, 0.93),
    "expert_bandwidth_fraction": CoefficientPrior(0.9, 0.2, 0.3, 1.4),
    "compute_fraction": CoefficientPrior(0.7, 0.2, 0.3, 0.95),
    "fp8_compute_fraction": CoefficientPrior(0.88, 0.1, 0.6, 1.0),
    "expert_compute_fraction": CoefficientPrior(0.6, 0.3, 0.15, 1.0),
    "attention_fraction": CoefficientPrior(0.45, 0.3, 0.1, 0.8),
    "link_fraction": CoefficientPrior(0.5, 0.4, 0.1, 0.95),
    "fixed_s": CoefficientPrior(2e-3, 0.4, 2e-4, 1e-2),
    "layer_s": CoefficientPrior(1.5e-5, 0.4, 1e-6, 1e-4),
    "expert_layer_s": CoefficientPrior(4e-5, 0.5, 1e-6, 2e-4),
    "all_reduce_s": CoefficientPrior(1e-5, 0.5, 2e-6, 5e-5),
    "sequence_s": CoefficientPrior(2.5e-5, 0.4, 1e-6, 2e-4),
    "frontend_s": CoefficientPrior(0.04, 0.5, 5e-3, 0.5),
    "wait_fraction": CoefficientPrior(1.0, 0.3, 0.2, 5.0),
    "companion_fraction": CoefficientPrior(0.9, 0.3, 0.1, 3.0),
    "wave_constant_fraction": CoefficientPrior(0.2, 0.7, 0.02, 3.0),
    # The load generator of the rows with spread lengths sends ten requests per client, the first of all at once.
    "wave_spread_fraction": CoefficientPrior(0.12, 0.5, 0.02, 2.0),
}


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured row: the engine, its load, mean TTFT and TPOT. fold names rows that must be left out together (one model)."""

    label: str
    fold: str
    engine: PredictedEngine
    load: ClosedLoop
    kv_tokens: float
    ttft_s: float
    tpot_s: float


def predicted(row: Observation, fit: LatencyFit) -> ClosedLoopLatency:
    """What the fit says of a row; UnsupportedError as step_time."""
    return row.engine.latency(row.engine.step(fit), fit, row.load, row.kv_tokens)


def bare_fit(coefficients: Coefficients) -> LatencyFit:
    """A fit of which nothing but the coefficients is known."""
    unknown = Residuals(((0.5, 1.0),), ((0.5, 1.0),))
    return LatencyFit("none", "none", 0, (), 1.0, coefficients, {}, dict.fromkeys(DISTANCES, unknown), {})


def prior_coefficients(priors: Mapping[str, CoefficientPrior]) -> Coefficients:
    """The likely values themselves."""
    return Coefficients(**{name: priors[name].value for name in COEFFICIENT_NAMES})


def fitted(rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior] = PRIORS, start: Coefficients | None = None) -> Coefficients:
    """The coefficients that explain the rows best under the priors; the likely values when there are no rows.

    start is where the search begins (None: at the likely values); a near one saves time and nothing else.
    """
    search = _Search(rows, priors, start or prior_coefficients(priors))
    damping = 1e-2
    for _ in range(_ITERATIONS if rows else 0):
        before = search.cost
        damping = search.improved(damping)
        if before - search.cost <= _TOLERANCE_FRACTION * before:
            break
    return search.coefficients()


def fit_of(rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], start: Coefficients) -> LatencyFit:
    """Coefficients of all rows and, where they are of several generations of GPUs, of each; what was measured. No bands.

    Kernels reach other fractions of the data sheet on each generation. What the rows of one do not tell stays near what all rows do.
    """
    found = fitted(rows, priors, start)
    names = sorted({row.engine.gpu.compute_capability for row in rows})
    nearby = centred(priors, found)
    generations = {
        name: fitted([row for row in rows if row.engine.gpu.compute_capability == name], nearby, found)
        for name in (names if len(names) > 1 else ())
    }
    pairs = {
        FittedPair(kind(engine.architecture), engine.gpu.compute_capability, engine.gpu.name, engine.architecture.name): None
        for engine in (row.engine for row in rows)
    }
    return replace(bare_fit(found), rows=len(rows), generations=generations, measured=tuple(sorted(pairs, key=repr)))


def centred(priors: Mapping[str, CoefficientPrior], found: Coefficients) -> dict[str, CoefficientPrior]:
    """The priors with their likely values at coefficients already found."""
    return {name: replace(priors[name], value=getattr(found, name)) for name in COEFFICIENT_NAMES}


class _Search:
    """The current point of the minimisation, in logarithms, with its residuals in units of noise and its cost."""

    def __init__(self, rows: Sequence[Observation], priors: Mapping[str, CoefficientPrior], start: Coefficients) -> None:
        self._rows = rows
        self._priors = [priors[name] for name in COEFFICIENT_NAMES]
        self._centre = [math.log(prior.value) for prior in self._priors]
        self._point = [math.log(getattr(start, name)) for name in COEFFICIENT_NAMES]
        self._residuals = self._at(self._point)
        self.cost = self._cost(self._point, self._residuals)

    def coefficients(self) -> Coefficients:
        return _coefficients(self._point)

    def improved(self, damping: float) -> float:
        """Move to a better point if one is found; the damping to go on with."""
        matrix, gradient = self._normal_equations()
        free = [place for place in range(len(self._point)) if not self._held(place, gradient[place])]
        for _ in range(_DAMPINGS):
            damped = [[matrix[i][j] * (1 + damping if i == j else 1) for j in free] for i in free]
            moves = dict(zip(free, solve(damped, [-gradient[place] for place in free]), strict=True))
            point = [self._bounded(place, moves.get(place, 0.0)) for place in range(len(self._point))]
            residuals = self._at(point)
            cost = self._cost(point, residuals)
            if cost < self.cost:
                self._point, self._residuals, self.cost = point, residuals, cost
                return max(damping / 5, 1e-8)
            damping *= 5
        return damping

    def _bounded(self, place: int, move: float) -> float:
        prior = self._priors[place]
        moved = self._point[place] + min(max(move, -_LARGEST_MOVE), _LARGEST_MOVE)
        return min(max(moved, math.log(prior.low)), math.log(prior.high))

    def _held(self, place: int, slope: float) -> bool:
        """Whether a coefficient lies on a bound and would leave it."""
        prior = self._priors[place]
        at_high = self._point[place] >= math.log(prior.high) - 1e-9
        at_low = self._point[place] <= math.log(prior.low) + 1e-9
        return (at_high and slope < 0) or (at_low and slope > 0)

    def _at(self, point: Sequence[float]) -> list[float]:
        fit = bare_fit(_coefficients(point))
        found: list[float] = []
        for row in self._rows:
            latency = predicted(row, fit)
            found.append(math.log(latency.tpot_s / row.tpot_s) / _NOISE)
            found.append(math.log(latency.ttft_s / row.ttft_s) * _TTFT_WEIGHT / _NOISE)
        return found

    def _cost(self, point: Sequence[float], residuals: Iterable[float]) -> float:
        off = sum(((at - centre) / prior.spread) ** 2 for at, centre, prior in zip(point, self._centre, self._priors, strict=True))
        return off / 2 + sum(_huber(residual) for residual in residuals)

    def _normal_equations(self) -> tuple[list[list[float]], list[float]]:
        """Second derivatives (Gauss and Newton's) and slope of the cost."""
        size = len(self._point)
        columns = [self._derivative(place) for place in range(size)]
        weights = [1.0 if abs(residual) <= _HUBER else _HUBER / abs(residual) for residual in self._residuals]
        weighted = [[weight * value for weight, value in zip(weights, column, strict=True)] for column in columns]
        matrix = [[_dot(weighted[i], columns[j]) for j in range(size)] for i in range(size)]
        gradient = [_dot(column, self._residuals) for column in weighted]
        for place, prior in enumerate(self._priors):
            matrix[place][place] += 1 / prior.spread**2
            gradient[place] += (self._point[place] - self._centre[place]) / prior.spread**2
        return matrix, gradient

    def _derivative(self, place: int) -> list[float]:
        step = _STEP if self._point[place] + _STEP <= math.log(self._priors[place].high) else -_STEP
        moved = [at + step if index == place else at for index, at in enumerate(self._point)]
        return [(after - before) / step for after, before in zip(self._at(moved), self._residuals, strict=True)]


def _coefficients(point: Sequence[float]) -> Coefficients:
    return Coefficients(**{name: math.exp(at) for name, at in zip(COEFFICIENT_NAMES, point, strict=True)})


def _huber(residual: float) -> float:
    size = abs(residual)
    return residual * residual / 2 if size <= _HUBER else _HUBER * (size - _HUBER / 2)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def left_out(
    rows: Sequence[Observation], fold: Callable[[Observation], str], priors: Mapping[str, CoefficientPrior], start: Coefficients
) -> list[tuple[Observation, LatencyFit]]:
    """Each row with the fit of all rows of the other folds; start as for fitted."""
    found: list[tuple[Observation, LatencyFit]] = []
    for name in sorted({fold(row) for row in rows}):
        fit = fit_of([row for row in rows if fold(row) != name], priors, start)
        found += [(row, fit) for row in rows if fold(row) == name]
    return found
