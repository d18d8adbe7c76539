"""When enough was measured: of one load, and of one pair of lengths under rising load. Pure functions of what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from executor.measure.load import ClientLoad, Enough, MeasureError, Timing
from profiles.store.plausible import TPOT_BOUNDS_S

# Rounds (one answer per client) that a mean is judged by, and after which another one tells next to nothing new.
LEAST_ROUNDS, MOST_ROUNDS = 3, 12
# A round of one or two clients is one or two answers: too few to judge their spread by.
LEAST_PER_ROUND = 4
# TTFT is scheduling as well as work and spreads wider than TPOT; a wider interval of it is enough.
TTFT_LENIENCE = 3.0
# Quantile 0.975 of Student's t with 2, 3, ... 11 degrees of freedom (any table): half-width of a mean's 95 % interval in standard errors.
_STUDENT_T = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)
# Clients that bring less than this part of their due throughput find the engine full.
_LEAST_GAIN_FRACTION = 0.1
# A load that misses the goal this many times over says nothing about loads that are worth planning.
_FAR_BEYOND = 3.0


@dataclass(frozen=True, slots=True)
class Stops:
    """When to stop. confidence_fraction is the half-width of the 95 % interval of the mean TPOT; SLOs None: no goal.

    load_s bounds one load; at its end what was seen counts if every client had an answer.
    """

    load_s: float
    confidence_fraction: float
    ttft_slo_s: float | None = None
    tpot_slo_s: float | None = None


@dataclass(frozen=True, slots=True)
class LoadMeans:
    """What was measured at one load: means over requests, and requests completed per second. tpot_s None: answers of one token."""

    load: ClientLoad
    requests: int
    rate_rps: float
    ttft_s: float
    tpot_s: float | None
    request_s: float


def tpot_of(seen_s: float, engine_s: float | None, where: str) -> float:
    """TPOT in seconds, of what the client saw and what the engine's own histogram says (None: it has none).

    A first token that was held up on its way, beside a busy API process or network, makes the rest of its answer look faster than it was
    made. So the engine's clock is the lower limit. Raises MeasureError where neither clock can tell.
    """
    found_s = max(seen_s, engine_s or 0.0)
    if found_s < TPOT_BOUNDS_S[0]:
        raise MeasureError(
            f"{where}: the tokens of an answer arrive together ({seen_s * 1000:.3g} ms apart), and /metrics has no "
            "vllm:request_decode_time_seconds that says when they were made; give more --output-tokens, or measure a newer vLLM"
        )
    return found_s


def means(load: ClientLoad, timings: Sequence[Timing], duration_s: float, engine_tpot_s: float | None = None) -> LoadMeans:
    """Means of the answers of one run; engine_tpot_s is the engine's own mean of their TPOT. MeasureError as `tpot_of`."""
    tpots_s = [timing.tpot_s for timing in timings if timing.tpot_s is not None]
    return LoadMeans(
        load=load,
        requests=len(timings),
        rate_rps=len(timings) / duration_s,
        ttft_s=fmean(timing.ttft_s for timing in timings),
        tpot_s=tpot_of(fmean(tpots_s), engine_tpot_s, str(load)) if tpots_s else None,
        request_s=fmean(timing.request_s for timing in timings),
    )


def enough_for(load: ClientLoad, stops: Stops) -> Enough:
    """Ends a run when its means are known well enough, are as good as they get, or its time is over."""
    size = max(load.concurrency, LEAST_PER_ROUND)

    def enough(timings: Sequence[Timing], elapsed_s: float) -> bool:
        if elapsed_s >= stops.load_s:
            return len(timings) >= load.concurrency
        rounds, rest = divmod(len(timings), size)
        if rest or rounds < LEAST_ROUNDS:
            return False
        return rounds >= MOST_ROUNDS or _known(timings, size, stops.confidence_fraction)

    return enough


def _known(timings: Sequence[Timing], size: int, fraction: float) -> bool:
    """Whether the means over rounds agree. Requests of one round meet each other, so rounds and not requests are independent."""
    rounds = [timings[at : at + size] for at in range(0, len(timings), size)]
    ttfts_s = [fmean(timing.ttft_s for timing in each) for each in rounds]
    decodes_s = [fmean(timing.request_s if timing.tpot_s is None else timing.tpot_s for timing in each) for each in rounds]
    return half_width_fraction(decodes_s) <= fraction and half_width_fraction(ttfts_s) <= TTFT_LENIENCE * fraction


def half_width_fraction(values: Sequence[float]) -> float:
    """Half-width of the 95 % interval of the mean over the mean; infinite for fewer than three values, or where all are 0."""
    if len(values) < LEAST_ROUNDS or not any(values):
        return math.inf
    t = _STUDENT_T[min(len(values) - 1 - 2, len(_STUDENT_T) - 1)]
    return t * stdev(values) / math.sqrt(len(values)) / fmean(values)


def why_stop(series: Sequence[LoadMeans], stops: Stops) -> str | None:
    """Why more clients with these lengths would tell nothing; None when they would. series is by rising concurrency."""
    if not series:
        return None
    last = series[-1]
    for name, seen_s, goal_s in (("TTFT", last.ttft_s, stops.ttft_slo_s), ("TPOT", last.tpot_s, stops.tpot_slo_s)):
        if seen_s is not None and goal_s is not None and seen_s > _FAR_BEYOND * goal_s:
            return f"{name} {seen_s * 1000:.3g} ms is far beyond the goal of {goal_s * 1000:.3g} ms"
    if len(series) < 2:
        return None
    best = max(series[:-1], key=lambda point: point.rate_rps)
    brought = last.load.concurrency / best.load.concurrency - 1
    gained = last.rate_rps / best.rate_rps - 1
    if brought > 0 and gained < _LEAST_GAIN_FRACTION * brought:
        return f"throughput no longer grows ({best.rate_rps:.3g} requests/s with {best.load.concurrency}, {last.rate_rps:.3g} now)"
    return None
