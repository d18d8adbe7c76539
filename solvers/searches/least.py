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

from solvers.model.arrays import Flags, Floats, Integers

# lists longer than this are cut off: what they would still find is bounded instead
_MOST_LISTS = 3_000
_MOST_COPIES = 50_000
# relative size of what may be overlooked; equal rates would otherwise never end
_NEAR = 1.0 - 1e-7
# a price per unit of capacity above all sense
_MOST_RATE = 1e200


@dataclass(frozen=True, slots=True)
class Cover:
    """A lower value of every cover, and the copies per option of the best one found."""

    value: float
    counts: Counter[int]


class _Lists:
    """Part lists, where each came from, and the best cover so far."""

    def __init__(self, target: int, lost: float, heads: int) -> None:
        self._target, self._lost, self._fewest = target, lost, heads
        self.have, self.paid, self.heads = np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64)
        self._steps: list[tuple[int, Integers, Integers]] = []
        self.best, self.counts = (lost * target if lost < math.inf else math.inf), Counter[int]()

    def keep(self, chosen: Integers) -> None:
        self.have, self.paid, self.heads = self.have[chosen], self.paid[chosen], self.heads[chosen]
        if self._steps:
            option, parent, copies = self._steps[-1]
            self._steps[-1] = (option, parent[chosen], copies[chosen])

    def completed(self, option: int, size: int, price: float) -> Integers:
        """Copies of an option that complete each list; the cheapest of these covers may be the best."""
        copies = -(-(self._target - self.have) // size)
        if self._fewest:
            copies = np.maximum(copies, self._fewest - self.heads)
        ends = self.paid + copies * price
        first = int(ends.argmin())
        if ends[first] < self.best:
            self.best, self.counts = float(ends[first]), self._trace(first)
            self.counts[option] += int(copies[first])
        return copies

    def extend(self, option: int, copies: Integers, size: int, price: float) -> None:
        """Each list without and with 1, 2, .., copies - 1 of an option."""
        ends = np.cumsum(copies)
        step = np.arange(ends[-1]) - np.repeat(ends - copies, copies)
        parent = np.repeat(np.arange(len(self.have)), copies)
        self.have, self.paid = self.have[parent] + step * size, self.paid[parent] + step * price
        self.heads = self.heads[parent] + step
        self._steps.append((option, parent, step))
        if self._lost < math.inf:
            left = self.paid + self._lost * (self._target - self.have)
            first = int(left.argmin())
            if left[first] < self.best:
                self.best, self.counts = float(left[first]), self._trace(first)

    def least_at(self, rate: float) -> Floats:
        """What each list costs at least when what it lacks is bought at a price per unit of capacity."""
        missing = self._target - self.have
        if self._fewest:
            # what lacks replicas only may have them for nothing
            return self.paid + np.where(missing > 0, min(rate, _MOST_RATE) * missing, 0.0)
        return self.paid + rate * missing

    def hopeful(self, rate: float) -> Integers:
        """Lists that may become better than the best cover when what they lack costs that much."""
        return np.flatnonzero(self.least_at(rate) < self.best * _NEAR)

    def drop_beaten(self) -> None:
        """Drop what another list beats that has as many replicas, or as many as are asked for."""
        order = np.lexsort((self.paid, -self.have))
        paid = self.paid[order]
        if not self._fewest:
            self.keep(order[_lowest(paid)])
            return
        keep = np.zeros(len(order), dtype=bool)
        enough = np.minimum(self.heads[order], self._fewest)
        for each in range(self._fewest + 1):
            rivals = np.flatnonzero(enough >= each)
            keep[rivals] |= (enough[rivals] == each) & _lowest(paid[rivals])
        self.keep(order[keep])

    def cut_off(self, rate: float) -> Cover:
        """The best so far, and what nothing is below."""
        return Cover(_NEAR * min(self.best, float(self.least_at(rate).min())), self.counts)

    def _trace(self, at: int) -> Counter[int]:
        counts: Counter[int] = Counter()
        for option, parent, copies in reversed(self._steps):
            if copies[at]:
                counts[option] += int(copies[at])
            at = int(parent[at])
        return counts


def cheapest(capacity: Integers, price: Floats, target: int, lost: float = math.inf, heads: int = 0) -> Cover:
    """The least that replicas of these options (capacities above zero) cost which carry target together.

    What they do not carry costs lost per unit; with infinity everything is carried, by at least heads replicas, a number that counts for
    nothing otherwise. Options without any price are free.
    """
    fewest = 0 if lost < math.inf else heads
    if target <= 0 and fewest <= 0:
        return Cover(0.0, Counter())
    order = _in_order(capacity, price)
    rates = np.append(np.minimum(price[order] / capacity[order], lost), lost)
    lists = _Lists(target, lost, fewest)
    for turn, option in enumerate(order):
        size, each = int(capacity[option]), float(price[option])
        copies = lists.completed(int(option), size, each)
        hopeful = lists.hopeful(rates[turn])
        lists.keep(hopeful)
        if not len(hopeful):
            break
        copies = copies[hopeful]
        if copies.sum() > _MOST_COPIES:
            return lists.cut_off(rates[turn])
        lists.extend(int(option), copies, size, each)
        lists.keep(lists.hopeful(rates[turn + 1]))
        lists.drop_beaten()
        if len(lists.have) > _MOST_LISTS:
            return lists.cut_off(rates[turn + 1])
        if not len(lists.have):
            break
    return Cover(lists.best * _NEAR if lists.best < math.inf else lists.best, lists.counts)


def _lowest(values: Floats) -> Flags:
    """Which values are below all before them."""
    return np.append(True, values[1:] < np.minimum.accumulate(values)[:-1])[: len(values)]


def _in_order(capacity: Integers, price: Floats) -> Integers:
    """Options that no other beats in price and capacity, cheapest per capacity first."""
    by_size = np.lexsort((price, -capacity))
    in_size = price[by_size]
    front = by_size[_lowest(in_size)]
    order: Integers = front[np.argsort(price[front] / capacity[front], kind="stable")]
    return order
