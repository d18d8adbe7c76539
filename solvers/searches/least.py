"""The cheapest way to cover a demand at given prices of its options, by lists of (capacity, price) that nothing beats.

Options come in order of price per capacity. A part list is dropped when even the best rate left cannot bring it below the best cover
known, or when another list has more capacity for less. Exact but for a relative 1e-7, which the value returned stays below, and for
limits on the length of the lists, beyond which a bound is returned.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from solvers.model.arrays import Floats, Integers

# lists longer than this are cut off: what they would still find is bounded instead
_MOST_LISTS = 3_000
_MOST_COPIES = 50_000
# relative size of what may be overlooked; equal rates would otherwise never end
_NEAR = 1.0 - 1e-7


@dataclass(frozen=True, slots=True)
class Cover:
    """A lower value of every cover, and the copies per option of the best one found."""

    value: float
    counts: Counter[int]


class _Lists:
    """Part lists, and where each came from."""

    def __init__(self) -> None:
        self.have, self.paid = np.zeros(1, dtype=np.int64), np.zeros(1)
        self._steps: list[tuple[int, Integers, Integers]] = []

    def keep(self, chosen: Integers) -> None:
        self.have, self.paid = self.have[chosen], self.paid[chosen]
        if self._steps:
            option, parent, copies = self._steps[-1]
            self._steps[-1] = (option, parent[chosen], copies[chosen])

    def extend(self, option: int, copies: Integers, size: int, price: float) -> None:
        """Each list without and with 1, 2, .., copies - 1 of an option."""
        ends = np.cumsum(copies)
        step = np.arange(ends[-1]) - np.repeat(ends - copies, copies)
        parent = np.repeat(np.arange(len(self.have)), copies)
        self.have, self.paid = self.have[parent] + step * size, self.paid[parent] + step * price
        self._steps.append((option, parent, step))

    def drop_beaten(self) -> None:
        order = np.lexsort((self.paid, -self.have))
        if len(order):
            paid = self.paid[order]
            self.keep(order[np.append(True, paid[1:] < np.minimum.accumulate(paid)[:-1])])

    def trace(self, at: int) -> Counter[int]:
        counts: Counter[int] = Counter()
        for option, parent, copies in reversed(self._steps):
            if copies[at]:
                counts[option] += int(copies[at])
            at = int(parent[at])
        return counts


def cheapest(capacity: Integers, price: Floats, target: int, lost: float = math.inf) -> Cover:
    """The least that replicas of these options (capacities above zero) cost which carry target together.

    What they do not carry costs lost per unit; with infinity everything is carried. Options without any price are free.
    """
    if target <= 0:
        return Cover(0.0, Counter())
    order = _in_order(capacity, price)
    rates = np.append(np.minimum(price[order] / capacity[order], lost), lost)
    best, counts = lost * target, Counter[int]()
    lists = _Lists()
    for turn, option in enumerate(order):
        size, each = int(capacity[option]), float(price[option])
        missing = target - lists.have
        ends = lists.paid + -(-missing // size) * each
        first = int(ends.argmin())
        if ends[first] < best:
            best, counts = float(ends[first]), lists.trace(first)
            counts[int(option)] += int(-(-missing[first] // size))
        lists.keep(np.flatnonzero(lists.paid + rates[turn] * missing < best * _NEAR))
        if not len(lists.have):
            break
        missing = target - lists.have
        copies = (missing - 1) // size + 1
        if copies.sum() > _MOST_COPIES:
            return Cover(_NEAR * min(best, float((lists.paid + rates[turn] * missing).min())), counts)
        lists.extend(int(option), copies, size, each)
        if lost < math.inf:
            ends = lists.paid + lost * (target - lists.have)
            first = int(ends.argmin())
            if ends[first] < best:
                best, counts = float(ends[first]), lists.trace(first)
        lists.keep(np.flatnonzero(lists.paid + rates[turn + 1] * (target - lists.have) < best * _NEAR))
        lists.drop_beaten()
        if len(lists.have) > _MOST_LISTS:
            return Cover(_NEAR * min(best, float((lists.paid + rates[turn + 1] * (target - lists.have)).min())), counts)
        if not len(lists.have):
            break
    return Cover(best * _NEAR if best < math.inf else best, counts)


def _in_order(capacity: Integers, price: Floats) -> Integers:
    """Options that no other beats in price and capacity, cheapest per capacity first."""
    by_size = np.lexsort((price, -capacity))
    in_size = price[by_size]
    front = by_size[np.append(True, in_size[1:] < np.minimum.accumulate(in_size)[:-1])] if len(by_size) else by_size
    order: Integers = front[np.argsort(price[front] / capacity[front], kind="stable")]
    return order
