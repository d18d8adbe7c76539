"""How many requests may fail, after some that were watched? The upper end of the one-sided interval of Clopper and Pearson."""

from __future__ import annotations

import math

# Halvings of an interval of length 1 until nothing is left that a float can tell apart.
_HALVINGS = 60


def highest_fraction(failed: int, tried: int, confidence: float = 0.95) -> float:
    """The largest probability of failure under which so few failures, or fewer, still come with a chance of 1 - confidence.

    Without any failure it is close to 3 / tried, the rule of three. Raises ValueError for counts that cannot be.
    """
    if not 0 <= failed <= tried or tried < 1:
        raise ValueError(f"{failed} of {tried} failed: there must be at least one request, and no more failures than requests")
    if failed == tried:
        return 1.0
    low, high = failed / tried, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(failed, tried, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(failed: int, tried: int, fraction: float) -> float:
    """The chance of so many failures or fewer."""
    if not 0 < fraction < 1:
        return 1.0 if fraction <= 0 else 0.0
    fails, works = math.log(fraction), math.log1p(-fraction)
    all_orders = math.lgamma(tried + 1)
    return math.fsum(
        math.exp(all_orders - math.lgamma(count + 1) - math.lgamma(tried - count + 1) + count * fails + (tried - count) * works)
        for count in range(failed + 1)
    )
