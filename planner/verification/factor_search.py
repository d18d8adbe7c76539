"""The largest factor of a load that something still bears, by geometric bisection with a bounded number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FactorSearch:
    """Where to look and how long.

    The search walks from 1 in steps of step_factor until one factor is borne and one is not, never outside lowest_factor to
    highest_factor, then halves the interval geometrically until its ends differ by width_fraction or most_trials are spent. Raises
    ValueError for limits that leave nothing to search.
    """

    lowest_factor: float = 1 / 32
    highest_factor: float = 32.0
    step_factor: float = 1.4
    width_fraction: float = 0.03
    most_trials: int = 24

    def __post_init__(self) -> None:
        """Refuse limits that leave nothing to search."""
        if not 0 < self.lowest_factor <= 1 <= self.highest_factor < math.inf:
            raise ValueError(f"factors from {self.lowest_factor} to {self.highest_factor}; the one must be in (0, 1], the other at least 1")
        if not (self.step_factor > 1 and self.width_fraction > 0 and self.most_trials >= 1):
            raise ValueError(
                f"step_factor {self.step_factor}, width_fraction {self.width_fraction} and most_trials {self.most_trials} "
                "must be above 1, above 0 and at least 1"
            )


@dataclass(frozen=True, slots=True)
class FoundFactor:
    """factor is the largest one that was tried and borne: 0.0 when none was, highest_factor when nothing broke; trials is their number."""

    factor: float
    trials: int


def largest_factor(bears: Callable[[float], bool], search: FactorSearch) -> FoundFactor:
    """The largest factor that is borne, as far as the search is asked to look; `bears` should not bear more than what it fails."""
    low = high = None
    factor = 1.0
    for trial in range(1, search.most_trials + 1):
        if bears(factor):
            low = factor
            if factor >= search.highest_factor:
                return FoundFactor(factor, trial)
        else:
            high = factor
            if factor <= search.lowest_factor:
                return FoundFactor(0.0, trial)
        if low is None:
            factor = max(factor / search.step_factor, search.lowest_factor)
        elif high is None:
            factor = min(factor * search.step_factor, search.highest_factor)
        elif high <= low * (1 + search.width_fraction):
            return FoundFactor(low, trial)
        else:
            factor = math.sqrt(low * high)
    return FoundFactor(low or 0.0, search.most_trials)
