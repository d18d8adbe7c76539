"""Options that are durations."""

from __future__ import annotations


def seconds_of(option: str, text: str) -> float:
    """Seconds of a duration as people write it, 15min; ValueError names the option."""
    from planner.spec.units import SECONDS, UnitError

    try:
        return float(SECONDS.read(text))
    except UnitError as error:
        raise ValueError(f"{option}: {text[:40]!r} {error}") from error
