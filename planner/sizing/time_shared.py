"""Candidates that share the time of a GPU: for each class of neighbours the replicas that bear it, with the KV cache that they need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from planner.sizing.activity import RatesBeside, SharingLimit, sharing_limits
from profiles.settings import UnsupportedError

# Demand is split over n, n+1, n+2 equal replicas, n being the fewest that can carry it: more, smaller replicas fill gaps.
EXTRA_SPLITS = 2

# So many counts of replicas are tried one by one; from then on each is a quarter more than the last, up to so many times the fewest.
_ONE_BY_ONE, _GROWTH, _MOST_TIMES = 8, 1.25, 6

# Activities are rounded up to a hundredth of the time: alike replicas are one class of slot for the solvers.
_ACTIVE_STEP_PERMILLE = 10

# Sixteen halvings leave a rate known to a ten-thousandth.
_HALVINGS = 16


def splits(rates: RatesBeside, fewest: int) -> Iterator[tuple[float, SharingLimit]]:
    """Rates of one of several equal replicas with the class of neighbours that each bears: per class the fewest replicas and a few more.

    fewest is how many would do alone. Nothing for classes that no part of the demand, however small, bears.
    """
    found: Counter[SharingLimit] = Counter()
    limits = sharing_limits(rates.variant.site.max_active_residents)
    for count in _counts(max(1, rates.variant.group.min_replicas, fewest)):
        still = [limit for limit in limits if found[limit] <= EXTRA_SPLITS]
        if not still:
            return
        rate_rps = rates.variant.group.peak_rps / count
        for limit in borne(rates, rate_rps, still):
            found[limit] += 1
            yield rate_rps, limit


def _counts(fewest: int) -> Iterator[int]:
    count = fewest
    while count <= _MOST_TIMES * fewest + _ONE_BY_ONE:
        yield count
        count = count + 1 if count < fewest + _ONE_BY_ONE else math.ceil(count * _GROWTH)


def borne(rates: RatesBeside, rate_rps: float, limits: Sequence[SharingLimit]) -> list[SharingLimit]:
    """The classes of neighbours that a replica bears at its peak and when it is least busy, when there is most room for theirs."""
    group = rates.variant.group
    parts = sorted({1.0, min(window_rps for window_rps in group.windows_rps if window_rps > 0) / group.peak_rps}, reverse=True)
    return [limit for limit in limits if all(rates.at(rate_rps * part * limit.rate_margin).bears(limit) for part in parts)]


def mean_active(rates: RatesBeside, rate_rps: float, limit: SharingLimit) -> float:
    """Residents that are active at once in the mean while this one is, itself counted: what its KV cache is sized for."""
    return 1.0 + rates.at(rate_rps * limit.rate_margin).neighbours_active(limit)


def largest_borne_rps(rates: RatesBeside, limit: SharingLimit, kv_bytes: int) -> float:
    """Largest rate at which a replica with so much KV cache bears its neighbours; UnsupportedError without any."""

    def good(rate_rps: float) -> bool:
        need_bytes = rates.engine.kv_need_bytes(rate_rps, mean_active(rates, rate_rps, limit))
        return need_bytes is not None and need_bytes <= kv_bytes and bool(borne(rates, rate_rps, [limit]))

    low_rps, high_rps = 0.0, rates.variant.group.peak_rps
    if good(high_rps):
        # what was planned to carry all of it still does, to the last digit
        return high_rps
    for _ in range(_HALVINGS):
        middle_rps = (low_rps + high_rps) / 2
        low_rps, high_rps = (middle_rps, high_rps) if good(middle_rps) else (low_rps, middle_rps)
    if low_rps <= 0.0:
        raise UnsupportedError(f"it bears no neighbours with a KV cache of {kv_bytes} bytes")
    return low_rps


def activities(rates: RatesBeside, rate_rps: float, limit: SharingLimit) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Per joint window its activity and its part of the GPU's time (per mille), and how many may be active at worst, itself counted.

    At worst: as many as those beside which its goals are met at the sizing quantile.
    """
    variant = rates.variant
    peak_rps = variant.group.peak_rps
    beside = [rates.at(rate_rps * window_rps / peak_rps * limit.rate_margin) for window_rps in variant.group.windows_rps]
    at_peak = beside[variant.group.windows_rps.index(peak_rps)]
    active = tuple(_stepped_permille(each.active_fraction(limit)) for each in beside)
    alone = [rates.engine.state(rate_rps * window_rps / peak_rps, 0) if window_rps else None for window_rps in variant.group.windows_rps]
    compute = tuple(0 if state is None else math.ceil(1000 * -math.expm1(-state.present)) for state in alone)
    return active, compute, 1 + (at_peak.meets_beside() or 0)


def _stepped_permille(active_fraction: float) -> int:
    return min(1000, math.ceil(round(1000 * active_fraction / _ACTIVE_STEP_PERMILLE, 9)) * _ACTIVE_STEP_PERMILLE)
