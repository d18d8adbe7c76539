"""Numbers as people read them: with their unit, and as a range where several things are shown as one."""

from __future__ import annotations

from collections.abc import Iterable

from ullage.views.words import MIB_PER_GIB


def gib_words(mib: float) -> str:
    """Memory in GiB."""
    return f"{mib / MIB_PER_GIB:.1f} GiB"


def usd_words(usd_per_h: float) -> str:
    """Money per hour."""
    return f"{usd_per_h:,.2f} USD/h"


def rate_words(rate_rps: float) -> str:
    """Requests/s with as many digits as matter, never as a power of ten.

    >>> rate_words(15742.31), rate_words(1.2345), rate_words(0)
    ('15,742', '1.23', '0')
    """
    return f"{rate_rps:,.0f}" if rate_rps >= 100 else f"{rate_rps:.3g}" if rate_rps >= 0.001 or not rate_rps else f"{rate_rps:.6f}"


def percent_words(fraction: float, digits: int = 0) -> str:
    """A part in percent."""
    return f"{fraction * 100:.{digits}f} %"


def milliseconds_words(time_s: float | None) -> str:
    """A time in ms; a dash where there is none."""
    return "-" if time_s is None else f"{time_s * 1000:.0f} ms"


def count_words(count: int, what: str) -> str:
    """So many of something, in the plural but for one."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def range_words(texts: Iterable[str]) -> str:
    """One text where all are alike, else the first and the last of those given in order, with a dash between them."""
    found = list(texts)
    return found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
