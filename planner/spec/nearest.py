"""The nearest correct spelling of a word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that is most like this one, upper and lower case alike; None when none comes near.

    >>> nearest("modle", ["model", "class"])
    'model'
    """
    # difflib takes quadratic time: no word of ours is longer
    spelled = {candidate.lower(): candidate for candidate in sorted(allowed)}
    close = get_close_matches(word[:100].lower(), spelled, n=1, cutoff=0.6)
    return spelled[close[0]] if close else None
