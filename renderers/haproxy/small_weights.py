"""Weights of a plan in the range that HAProxy has."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from planner.routes import largest_remainder

# https://docs.haproxy.org/2.8/configuration.html#5.2-weight
LARGEST_WEIGHT = 256


def small_weights(weights: Sequence[int]) -> list[int]:
    """Whole numbers from 1 to 256 whose shares are nearest to those of the weights; the same shares where 256 allows it.

    A share is less than 1/256 off, unless one weight is less than 1/256 of the largest: then 1/256 of the largest is the least there is.

    >>> small_weights([700, 300])
    [7, 3]
    >>> small_weights([999, 1])
    [256, 1]
    """
    if not weights:
        return []
    divisor = gcd(*weights)
    reduced = [weight // divisor for weight in weights]
    if max(reduced) <= LARGEST_WEIGHT:
        return reduced
    return min(_candidates(reduced), key=lambda candidate: farthest(reduced, candidate))


def farthest(weights: Sequence[int], others: Sequence[int]) -> float:
    """By how much the share that differs most does."""
    total, other_total = sum(weights), sum(others)
    return max(abs(one / total - other / other_total) for one, other in zip(weights, others, strict=True))


def _candidates(weights: Sequence[int]) -> list[list[int]]:
    total, largest = sum(weights), max(weights)
    found = [[max(1, round(weight * LARGEST_WEIGHT / largest)) for weight in weights]]
    for top in range(1, LARGEST_WEIGHT + 1):
        scaled = total * top // largest
        if scaled >= len(weights):
            parts = largest_remainder([float(weight) for weight in weights], scaled)
            if max(parts) <= LARGEST_WEIGHT:
                found.append(parts)
    return found
