"""Order of engine versions."""

from __future__ import annotations

import re
from functools import lru_cache

_VERSION = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})*)(?:[.-]?(rc|dev|post|a|b)(\d{1,9})?)?")
# Order of a suffix against the plain release: development and pre-releases before it, post-releases after it.
_SUFFIXES = {"dev": -4, "a": -3, "b": -2, "rc": -1, "": 0, "post": 1}


@lru_cache(maxsize=256)
def version_key(version: str | None) -> tuple[tuple[int, ...], int, int]:
    """Sort key of an engine version: 0.9 < 0.19.0rc1 < 0.19.0 < 0.19.0.post1; texts that are no version, and None, come first."""
    found = _VERSION.match(version or "")
    if found is None:
        return ((), 0, 0)
    numbers = [int(part) for part in found.group(1).split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return (tuple(numbers), _SUFFIXES[found.group(2) or ""], int(found.group(3) or 0))
