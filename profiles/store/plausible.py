"""Bounds of what can be measured at all, and the checks that name the field which is outside."""

from __future__ import annotations

import math

# Bounds that no engine reaches, and that a factor of 1000 between s and ms crosses. TPOT: 10,000 tokens/s in one stream is several times
# the fastest published decoding; 2 s per token is slower than a 70B model on a CPU. TTFT: a step, a tokenizer and a loopback connection
# take half a millisecond at least; an hour is longer than any client waits. The same hour bounds a request of the slowest kind six times.
TPOT_BOUNDS_S = (1e-4, 2.0)
TTFT_BOUNDS_S = (5e-4, 3600.0)
REQUEST_BOUNDS_S = (5e-4, 6 * 3600.0)
# Little's law: rate times time in the engine is the number in it, at most the clients there are. The slack covers means against medians
# and the rise and fall of a run; a factor of 1000 is beyond it on either side.
LITTLE_BOUNDS_FRACTION = (0.01, 2.0)
# The slowest neighbour is another engine with the same GPU; 100 times is a stall, not a share. A little below 1 is noise.
SLOWDOWN_BOUNDS = (0.8, 100.0)


class MeasurementError(ValueError):
    """A value that cannot be a measurement; field names it."""

    def __init__(self, field: str, problem: str) -> None:
        """Keep the field's name beside the message."""
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def named(field: str, value: str) -> None:
    """Refuse an empty text, spaces around it and characters that cannot be printed."""
    if not value or not value.isprintable() or value != value.strip():
        raise MeasurementError(field, f"{value!r} is no name")


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a text outside the choices."""
    if value not in choices:
        raise MeasurementError(field, f"{value!r} is not one of {', '.join(choices)}")


def count(field: str, value: int | None) -> None:
    """Refuse a count below 1; None is not known."""
    if value is not None and value < 1:
        raise MeasurementError(field, f"{value} is not a whole number of at least 1")


def positive(field: str, value: float | None) -> None:
    """Refuse what is not a finite number above 0; None is not known."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise MeasurementError(field, f"{value} is not a finite number above 0")


def within(field: str, value: float | None, bounds: tuple[float, float], unit: str) -> None:
    """Refuse a number outside the bounds, both included; None is not known."""
    low, high = bounds
    if value is not None and not low <= value <= high:
        hint = "; is it in another unit?" if unit == "s" and math.isfinite(value) and value > 0 else ""
        raise MeasurementError(field, f"{value:g} {unit} is outside {low:g} to {high:g}{hint}")
