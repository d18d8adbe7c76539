"""The table of a knapsack with at most one class of each demand, filled from few cells.

Classes of one demand that take the same of the grid differ only in value: the best of them stands for all. One that takes as much as
another of its demand, or more, and is worth no more adds nothing.
"""

from __future__ import annotations

import numpy as np

from solvers.model.arrays import Floats, Integers


class Cells:
    """Classes of one demand that take the same of the grid are one cell; the table is filled from the best of each."""

    def __init__(self, tags: Integers, steps: Integers, items: Integers, shape: tuple[int, ...]) -> None:
        """Items are the classes that fit, steps what each takes of the grid."""
        self._shape = shape
        order = items[np.lexsort((*steps[items].T, tags[items]))]
        keys = np.column_stack([tags[order], steps[order]])
        first = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1))) if len(order) else order
        self._order, self._first = order, first
        self._tags, taken = keys[first, 0], keys[first, 1:]
        self._smaller, self._starts, self._larger = _smaller(self._tags, taken)
        kinds, self._kind = np.unique(taken, axis=0, return_inverse=True)
        self._rooms = [
            (tuple(slice(step, None) for step in kind), tuple(slice(None, cells - step) for cells, step in zip(shape, kind, strict=True)))
            for kind in kinds.tolist()
        ]

    def table(self, values: Floats) -> Floats:
        """The upper value of what fits into each room, for values per item; what is worth nothing takes no part."""
        table = np.zeros(self._shape)
        if not len(self._first):
            return table
        best = np.maximum.reduceat(values[self._order], self._first)
        useful = best > 0.0
        if len(self._larger):
            # what takes as much or more and is worth no more than another one of the same demand adds nothing
            beaten = np.maximum.reduceat(best[self._smaller], self._starts) >= best[self._larger]
            useful[self._larger[beaten]] = False
        at = np.flatnonzero(useful)
        tags = self._tags[at]
        again = np.append(tags[1:] == tags[:-1], False) if len(at) else useful[:0]
        old, inside = table, False
        for kind, worth, more in zip(self._kind[at].tolist(), best[at].tolist(), again.tolist(), strict=True):
            if more and not inside:
                old = table.copy()
            elif not more and not inside:
                old = table
            inside = more
            room, rest = self._rooms[kind]
            part = table[room]
            np.maximum(part, old[rest] + worth, out=part)
        return table


def _smaller(tags: Integers, taken: Integers) -> tuple[Integers, Integers, Integers]:
    """Per cell the others of its demand that take no more: all of them in one array, where each one's start, and whose they are."""
    count = len(tags)
    start = np.searchsorted(tags, tags)
    many = np.searchsorted(tags, tags, side="right") - start
    owner = np.repeat(np.arange(count), many)
    other = np.arange(len(owner)) - np.repeat(np.cumsum(many) - many, many) + start[owner]
    below = (other != owner) & (taken[other] <= taken[owner]).all(axis=1)
    owner, other = owner[below], other[below]
    starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])) if len(owner) else owner
    return other, starts, owner[starts]
