"""Demand divided at a length of the prompt: what the shorter prompts ask for, and what the longer ones do.

Nothing is lost and nothing is counted twice: in each window the rates of both parts, and their tokens per second, add up to the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict

from planner.demand.traces import TraceRequest
from planner.demand.windows import Z99, DemandProfile, DemandWindow, TokenLengths, demand_from_requests, windowed_demand

# Where demand may be divided: at the median, and where one prompt in four, ten, twenty and a hundred is longer. What pays is a small part
# of prompts that are far longer than the others, so the steps become finer towards the long end.
SPLIT_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)

# A part of fewer prompts is none: of less than that sums of floats say nothing.
_SMALLEST_PART = 1e-6

_NORMAL = NormalDist()


class SplitDemand(BaseModel):
    """Demand in two parts: prompts of at most over_tokens, and longer ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    over_tokens: int
    short: DemandProfile
    long: DemandProfile


def split_profile(profile: DemandProfile, longest_tokens: int) -> tuple[SplitDemand, ...]:
    """The ways to divide declared demand, whose prompts are log-normal, at quantiles of its busiest window; none where all are as long.

    Lengths of outputs are taken not to depend on those of prompts. No prompt is longer than longest_tokens, so no p99 of a part is.
    """
    busiest = max(profile.windows, key=lambda window: window.rate_rps)
    prompts = _Prompts(busiest.input)
    if busiest.rate_rps <= 0 or prompts.sigma <= 0:
        return ()
    cuts = sorted({math.floor(prompts.quantile(part)) for part in SPLIT_QUANTILES})
    found = []
    for cut in cuts:
        pairs = [_split_window(window, cut, longest_tokens) for window in profile.windows]
        parts = [windowed_like(profile, [pair[index] for pair in pairs]) for index in (0, 1)]
        if all(part.peak_rps > 0 for part in parts) and all(_possible(window, longest_tokens) for part in parts for window in part.windows):
            found.append(SplitDemand(over_tokens=cut, short=parts[0], long=parts[1]))
    return tuple(found)


def split_requests(
    requests: Sequence[TraceRequest], demand_of: Callable[[Sequence[TraceRequest]], DemandProfile]
) -> tuple[SplitDemand, ...]:
    """The ways to divide the requests of a trace, sorted by arrival; demand_of measures the demand of each part."""
    lengths = sorted(request.input_tokens for request in requests)
    cuts = sorted({lengths[math.ceil(part * len(lengths)) - 1] for part in SPLIT_QUANTILES} - {lengths[-1]})
    return tuple(
        SplitDemand(
            over_tokens=cut,
            short=demand_of([request for request in requests if request.input_tokens <= cut]),
            long=demand_of([request for request in requests if request.input_tokens > cut]),
        )
        for cut in cuts
    )


def trace_demand(edges: Sequence[float], copies: int, timeline: str) -> Callable[[Sequence[TraceRequest]], DemandProfile]:
    """What measures requests of a trace as demand_from_requests() does, always in the same windows."""
    return lambda requests: demand_from_requests(requests, edges, copies, timeline)


def windowed_like(profile: DemandProfile, windows: Sequence[DemandWindow]) -> DemandProfile:
    """Demand of other windows at the same times as those of a profile."""
    if profile.timeline is None:
        rate_rps = windows[0].rate_rps
        return profile.model_copy(update={"windows": tuple(windows), "peak_rps": rate_rps, "p99_rps": rate_rps, "mean_rps": rate_rps})
    same = {"every_s": profile.every_s, "steady_fraction": profile.steady_fraction}
    return windowed_demand(windows, profile.timeline).model_copy(update=same)


def _possible(window: DemandWindow, longest_tokens: int) -> bool:
    """Whether prompts of a part can be as long as they are in the mean: a log-normal has a tail beyond what any model takes."""
    return window.rate_rps == 0 or 1 <= window.input.mean_tokens <= longest_tokens


def _split_window(window: DemandWindow, cut_tokens: int, longest_tokens: int) -> tuple[DemandWindow, DemandWindow]:
    prompts = _Prompts(window.input)
    nobody = window.model_copy(update={"rate_rps": 0.0})
    if prompts.below(cut_tokens, 0) < _SMALLEST_PART:
        return nobody, window
    if prompts.below(cut_tokens, 0) > 1.0 - _SMALLEST_PART:
        return window, nobody
    below = [prompts.below(cut_tokens, order) for order in (0, 1, 2)]
    # the rest of everything, so that nothing is lost in the last digit
    above = [whole - part for whole, part in zip((1.0, window.input.mean_tokens, prompts.mean_square), below, strict=True)]
    short_rps = window.rate_rps * below[0]
    short = prompts.between(0.0, below[0], below, longest_tokens)
    long = prompts.between(below[0], 1.0, above, longest_tokens)
    return (
        window.model_copy(update={"rate_rps": short_rps, "input": short}),
        window.model_copy(update={"rate_rps": window.rate_rps - short_rps, "input": long}),
    )


class _Prompts:
    """Lengths of prompts as a log-normal with this mean and p99; without spread all are as long as the mean."""

    def __init__(self, lengths: TokenLengths) -> None:
        ratio = lengths.p99_tokens / lengths.mean_tokens
        self._mean_tokens = lengths.mean_tokens
        self.sigma = Z99 - math.sqrt(max(0.0, Z99 * Z99 - 2.0 * math.log(ratio))) if ratio > 1 else 0.0
        self._mu = math.log(lengths.mean_tokens) - 0.5 * self.sigma * self.sigma
        self.mean_square = self._moment(2)

    def quantile(self, part: float) -> float:
        """The length that this part of the prompts does not exceed."""
        return math.exp(self._mu + self.sigma * _NORMAL.inv_cdf(part))

    def _moment(self, order: int) -> float:
        return math.pow(self._mean_tokens, order) * math.exp(0.5 * order * (order - 1) * self.sigma * self.sigma)

    def below(self, tokens: int, order: int) -> float:
        """What prompts of at most so many tokens have of E[X ** order]: of 1 their part of the prompts, of the mean their part of that."""
        if self.sigma <= 0:
            return self._moment(order) if self._mean_tokens <= tokens else 0.0
        score = (math.log(tokens) - self._mu) / self.sigma if tokens > 0 else -math.inf
        return self._moment(order) * _NORMAL.cdf(score - order * self.sigma)

    def between(self, low: float, high: float, moments: Sequence[float], longest_tokens: int) -> TokenLengths:
        """Lengths of the prompts between two quantiles, which have those parts of the moments.

        Lengths of a part are read as a log-normal again, by mean and p99. One that is cut off has a longer body than that: its p99 counts
        as so long that the mean square is no less than it is, for that is what queues grow with.
        """
        mean_tokens, mean_square = moments[1] / moments[0], moments[2] / moments[0]
        p50_tokens, p95_tokens, p99_tokens = (self._between(low, high, part, longest_tokens) for part in (0.5, 0.95, 0.99))
        spread = math.sqrt(max(0.0, math.log(mean_square / mean_tokens**2)))
        as_wide_tokens = mean_tokens * math.exp(Z99 * spread - 0.5 * spread * spread)
        p99_tokens = max(mean_tokens, min(max(p99_tokens, as_wide_tokens), longest_tokens))
        return TokenLengths(mean_tokens=mean_tokens, p50_tokens=p50_tokens, p95_tokens=p95_tokens, p99_tokens=p99_tokens)

    def _between(self, low: float, high: float, part: float, longest_tokens: int) -> float:
        whole = min(max(low + part * (high - low), 1e-12), 1.0 - 1e-12)
        return min(self.quantile(whole) if self.sigma > 0 else self._mean_tokens, float(longest_tokens))
