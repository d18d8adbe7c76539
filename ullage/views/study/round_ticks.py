"""Round numbers along an axis."""

from __future__ import annotations

import math


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that cover the range.

    >>> round_ticks(14.75, 29.5)
    [10.0, 15.0, 20.0, 25.0, 30.0]
    """
    span = max(high - low, abs(high) * 1e-3, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 9) for place in range(first, max(last, first + 1) + 1)]


def doubling_ticks(low: float, high: float) -> list[float]:
    """Powers of two that cover the range."""
    return [2.0**power for power in range(math.floor(math.log2(low) + 1e-9), math.ceil(math.log2(high) - 1e-9) + 1)]


def tick_words(value: float) -> str:
    """A number without digits that say nothing."""
    return f"{value:,.6f}".rstrip("0").rstrip(".")
