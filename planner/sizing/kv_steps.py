"""Sizes of KV pools move in steps, so that a small change of demand gives the same engine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import count, islice, takewhile

# Our choice: sizes a factor 2^(1/8) = 1.09 apart cost at most a twelfth of a pool, and a change of demand of a few percent
# mostly stays within one. Steps of less than 256 MiB are no use: headroom and the variance of CUDA contexts are larger.
STEPS_PER_OCTAVE = 8
UNIT_BYTES = 256 * 1024 * 1024


def stepped_bytes(kv_bytes: int, room_bytes: int) -> int:
    """The next size of a KV pool from kv_bytes on: 256 MiB times a power of 2^(1/8), in whole 256 MiB; no more than there is room for.

    >>> stepped_bytes(1, 10**12) // UNIT_BYTES, stepped_bytes(17 * UNIT_BYTES, 10**12) // UNIT_BYTES
    (1, 18)
    >>> stepped_bytes(17 * UNIT_BYTES + 1, 17 * UNIT_BYTES + 5) - 17 * UNIT_BYTES
    5
    """
    known = _SIZES[-1] >= kv_bytes
    step_bytes = _SIZES[bisect_left(_SIZES, kv_bytes)] if known else next(size for size in _sizes() if size >= kv_bytes)
    return max(kv_bytes, min(room_bytes, step_bytes))


def steps_below(kv_bytes: int) -> tuple[int, ...]:
    """The sizes of at most kv_bytes, the largest first.

    >>> [size // UNIT_BYTES for size in steps_below(5 * UNIT_BYTES - 1)]
    [4, 3, 2, 1]
    """
    return tuple(sorted(set(takewhile(lambda size: size <= kv_bytes, _sizes())), reverse=True))


def _sizes() -> Iterator[int]:
    return (-int(-(2 ** (step / STEPS_PER_OCTAVE)) // 1) * UNIT_BYTES for step in count())


# to 64 TiB, beyond any GPU
_SIZES = tuple(islice(_sizes(), 18 * STEPS_PER_OCTAVE + 1))
