"""What a workload asks for over time: arrival rate, burstiness and token lengths per window.

A profile comes from one of five forms: a constant rate, declared windows, a trace (`demand_from_requests`), a forecast, or a volume.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from planner.demand.traces import TraceRequest

# Standard normal quantiles at 0.95 and 0.99 (any table of the normal distribution).
Z95, Z99 = 1.6448536269514722, 2.3263478740408408

# With 30 bins the estimate of a variance has a relative standard error of sqrt(2 / 29) = 26 %; fewer bins say nothing.
DISPERSION_BINS = 30

# Below 20 requests the 95th percentile is the maximum: a window that small takes the token lengths of the whole workload.
MIN_REQUESTS_FOR_QUANTILES = 20

# Windows shorter than a minute follow single requests, not load: requests themselves last seconds to a minute.
SHORTEST_DEFAULT_WINDOW_S = 60.0
# Sixty windows by default resolve an hour by minutes and a day by 24 minutes.
DEFAULT_WINDOW_COUNT = 60

# Requests that all arrive within less than a second are a burst, not a rate: they count as that many per second.
SHORTEST_SPAN_S = 1.0

# The timeline of windows that people declare.
CLOCK = "clock"

# A plan is computed per window; a day by minutes is the finest that is sensible.
MAX_WINDOW_COUNT = 1440


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenLengths(_Part):
    """Mean and quantiles of the input (or output) length of a request, in tokens."""

    mean_tokens: float
    p50_tokens: float
    p95_tokens: float
    p99_tokens: float


class DemandWindow(_Part):
    """Demand between start_s and end_s: requests/s, index of dispersion of arrivals (1 = Poisson), token lengths."""

    start_s: float
    end_s: float
    rate_rps: float
    burstiness: float = 1.0
    input: TokenLengths
    output: TokenLengths


class DemandProfile(_Part):
    """Demand of one workload. Windows are in order and do not overlap; between and after them there is no demand.

    A constant demand is one window from 0 to infinity. peak_rps is the largest rate of a window, p99_rps the rate that is
    not exceeded 99 % of the time, mean_rps the time-weighted mean from the first start to the last end. timeline names what times are
    counted on: profiles of one timeline are known to happen together (None: constant, it has no times); every_s is after
    how long it repeats itself (None: never). steady_fraction is the part of
    the differences between windows that chance explains: 0 for declared windows.
    """

    windows: tuple[DemandWindow, ...]
    peak_rps: float
    p99_rps: float
    mean_rps: float
    timeline: str | None = None
    every_s: float | None = None
    steady_fraction: float = 0.0


def fixed_length(tokens: float) -> TokenLengths:
    """Every request has the same length."""
    return TokenLengths(mean_tokens=tokens, p50_tokens=tokens, p95_tokens=tokens, p99_tokens=tokens)


def spread_length(mean_tokens: float, p99_tokens: float) -> TokenLengths:
    """Lengths with this mean and 99th percentile (p99 >= mean); p50 and p95 are those of a log-normal distribution.

    A log-normal has mean exp(m + s^2/2) and p99 exp(m + z s) with z = 2.326, so s = z - sqrt(z^2 - 2 ln(p99/mean)).
    A ratio above exp(z^2/2) = 15 is beyond every log-normal; s is then z, which still keeps p50 <= p95 <= p99.
    """
    sigma = Z99 - math.sqrt(max(0.0, Z99**2 - 2 * math.log(p99_tokens / mean_tokens)))
    p50_tokens = p99_tokens / math.exp(Z99 * sigma)
    return TokenLengths(
        mean_tokens=mean_tokens, p50_tokens=p50_tokens, p95_tokens=p50_tokens * math.exp(Z95 * sigma), p99_tokens=p99_tokens
    )


def constant_demand(rate_rps: float, input_lengths: TokenLengths, output_lengths: TokenLengths) -> DemandProfile:
    """The same Poisson demand at all times."""
    window = DemandWindow(start_s=0.0, end_s=math.inf, rate_rps=rate_rps, input=input_lengths, output=output_lengths)
    return DemandProfile(windows=(window,), peak_rps=rate_rps, p99_rps=rate_rps, mean_rps=rate_rps)


def windowed_demand(windows: Sequence[DemandWindow], timeline: str = CLOCK) -> DemandProfile:
    """Demand that changes between finite windows (in order, not overlapping, at least one) of a timeline."""
    span_s = windows[-1].end_s - windows[0].start_s
    idle_s = sum(later.start_s - earlier.end_s for earlier, later in pairwise(windows))
    weights = sorted([(0.0, idle_s)] + [(window.rate_rps, window.end_s - window.start_s) for window in windows])
    reached_s, p99_rps = 0.0, 0.0
    for rate_rps, length_s in weights:
        p99_rps, reached_s = rate_rps, reached_s + length_s
        if reached_s >= 0.99 * span_s:
            break
    return DemandProfile(
        windows=tuple(windows),
        peak_rps=weights[-1][0],
        p99_rps=p99_rps,
        mean_rps=sum(rate_rps * length_s for rate_rps, length_s in weights) / span_s,
        timeline=timeline,
    )


def window_edges(span_s: float, window_s: float | None) -> tuple[float, ...]:
    """Cut [0, span_s] into equal windows of about window_s; None takes a sixtieth of the span, at least 60 s.

    All windows are equal so that a short remainder never shows up as a spurious peak; a span below 1 s counts as 1 s.
    Raises ValueError for too many.
    """
    wished_s = max(SHORTEST_DEFAULT_WINDOW_S, span_s / DEFAULT_WINDOW_COUNT) if window_s is None else window_s
    if span_s / wished_s > MAX_WINDOW_COUNT:
        raise ValueError(
            f"windows of {wished_s:g} s cut {span_s:g} s into more than {MAX_WINDOW_COUNT}; "
            f"write at least {math.ceil(span_s / MAX_WINDOW_COUNT)}s"
        )
    count = max(1, round(span_s / wished_s))
    width_s = max(span_s, SHORTEST_SPAN_S) / count
    return tuple(width_s * i for i in range(count + 1))


def demand_from_requests(
    requests: Sequence[TraceRequest], edges: Sequence[float], copies: int = 1, timeline: str = "trace"
) -> DemandProfile:
    """Demand per window of a trace, at least one request, sorted by arrival. edges come from `window_edges`, timeline names the trace.

    With copies every window has its own requests so many times, shifted evenly inside the window: rates are multiplied while
    peaks stay where they are. A request that arrives exactly at the last edge belongs to the last window.
    """
    whole_input = _lengths([request.input_tokens for request in requests])
    whole_output = _lengths([request.output_tokens for request in requests])
    arrivals_s = [request.arrival_s for request in requests]
    cuts = [bisect_left(arrivals_s, edge) for edge in edges[:-1]] + [len(requests)]
    windows: list[DemandWindow] = []
    for (start_s, end_s), (first, last) in zip(pairwise(edges), pairwise(cuts), strict=True):
        inside = requests[first:last]
        enough = len(inside) >= MIN_REQUESTS_FOR_QUANTILES
        windows.append(
            DemandWindow(
                start_s=start_s,
                end_s=end_s,
                rate_rps=len(inside) * copies / (end_s - start_s),
                burstiness=dispersion(_copied(arrivals_s[first:last], start_s, end_s - start_s, copies), start_s, end_s),
                input=_lengths([request.input_tokens for request in inside]) if enough else whole_input,
                output=_lengths([request.output_tokens for request in inside]) if enough else whole_output,
            )
        )
    chance = steady_fraction([last - first for first, last in pairwise(cuts)], [window.burstiness for window in windows])
    return windowed_demand(windows, timeline).model_copy(update={"steady_fraction": chance})


def steady_fraction(counts: Sequence[int], dispersions: Sequence[float]) -> float:
    """The part of the variance between the counts of windows that arrivals at a constant rate would show too, at most 1.

    Such counts vary by their mean times the index of dispersion within windows. It is the weight of the overall mean in the usual
    estimate of a window's rate (Buehlmann's credibility).
    """
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / max(1, len(counts) - 1)
    expected = sum(count * burst for count, burst in zip(counts, dispersions, strict=True)) / len(counts)
    return 1.0 if variance <= expected else expected / variance


def dispersion(arrivals_s: Sequence[float], start_s: float, end_s: float) -> float:
    """Index of dispersion of counts in [start_s, end_s]: variance over mean of the requests per bin; 1 for Poisson.

    A bin is a thirtieth of the window: 2 s at the usual 60 s, about as long as a short request stays in an engine, which
    is the time over which bursts pile up in its queue. Without arrivals, or with one, nothing contradicts Poisson: 1.
    """
    if len(arrivals_s) < 2:
        return 1.0
    counts = [0] * DISPERSION_BINS
    for arrival_s in arrivals_s:
        counts[min(DISPERSION_BINS - 1, int((arrival_s - start_s) / (end_s - start_s) * DISPERSION_BINS))] += 1
    mean = len(arrivals_s) / DISPERSION_BINS
    return sum((count - mean) ** 2 for count in counts) / (DISPERSION_BINS - 1) / mean


def _copied(arrivals_s: Sequence[float], start_s: float, width_s: float, copies: int) -> list[float]:
    shifts_s = [copy * width_s / copies for copy in range(copies)]
    return [start_s + (arrival_s - start_s + shift_s) % width_s for arrival_s in arrivals_s for shift_s in shifts_s]


def _lengths(tokens: list[int]) -> TokenLengths:
    tokens.sort()
    # nearest rank: the smallest length that at least this share of requests does not exceed
    p50, p95, p99 = (tokens[-(-len(tokens) * percent // 100) - 1] for percent in (50, 95, 99))
    return TokenLengths(mean_tokens=sum(tokens) / len(tokens), p50_tokens=p50, p95_tokens=p95, p99_tokens=p99)
