"""What an engine may raise on purpose."""

from __future__ import annotations


class UnavailableError(RuntimeError):
    """An engine cannot take this problem here: its solver is not installed, or the problem is beyond its declared size."""
