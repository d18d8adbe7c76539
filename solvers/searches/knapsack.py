"""The most valuable patterns of a time-shared or MPS group of slot classes, priced with arrays.

A table over the rows that bind holds an upper value of what may still come into the room left: a 0/1 knapsack by demand with weights
rounded down to a grid. Partial patterns whose value plus table entry cannot beat the best are dropped, layer by layer, so the search is
exact: the table only rounds in favour of the bound, and what fits is decided in the integers of the Problem.

A full table over thousands of classes is dear. Most classes are far from paying, and stay so while prices move a little: between full
tables only those are looked at that were near.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.model.arrays import Flags, Floats, Integers
from solvers.model.slots import Group
from solvers.searches.cells import Cells

# cells of the last row (1.25 GiB each on an 80 GiB GPU), of each other row, and of all other rows together
_CELLS, _FEW_CELLS, _MOST_NARROW = 48, 16, 80
# where a search gives up, a table with so many times the cells per row tells more: many small classes on one GPU lose much to rounding
_FINER, _FINEST = 4, 4
# a class is near when the best pattern with it is worth so much of the price
_NEAR_FRACTION = 0.93
# a table over more than this part of the classes is made over all: it is one to compare with later
_COMPLETE_PART = 0.5
# partial patterns in one layer; beyond that the table's value stands as the bound
_MOST_PARTIAL = 400_000
# classes that are completed to patterns in one round, and classes that may complete them
_MOST_SEEDS, _MOST_COMPANIONS = 40, 300


@dataclass(frozen=True, slots=True)
class Valued:
    """What pricing a group found: patterns (ascending classes) that are worth more than asked, and an upper value of all."""

    patterns: list[tuple[int, ...]]
    upper_value: float


class Knapsack:
    """The patterns of one group, built once and priced many times."""

    def __init__(self, group: Group, fineness: int = 1) -> None:
        """Arrays of the group's weights and of who may not meet; the grid has so many times the usual cells per row."""
        self._group, self._fineness = group, fineness
        self._finer: Knapsack | None = None
        self._classes = np.array(group.classes, dtype=np.int64)
        weights = np.array(group.weights, dtype=np.int64).reshape(len(group.classes), -1)
        limits = np.array(group.limits, dtype=np.int64)
        self._most, binding = _binding(weights, limits)
        rows = _in_order(weights, limits, binding)
        self._weights, self._limits = weights[:, rows], limits[rows]
        self._tags = np.array(group.tags, dtype=np.int64)
        self._apart = _apart(group)
        self._units, self._shape = self._grid()
        self._steps = self._weights // self._units[None, :]
        fits = np.flatnonzero((self._weights <= self._limits[None, :]).all(axis=1))
        self._alone = self._limits[None, :] - self._weights
        # where in the table, as one line, the room beside each class is
        self._beside = np.ravel_multi_index(tuple((np.maximum(0, self._alone) // self._units).T), self._shape)
        self._fits = np.zeros(len(self._classes), dtype=bool)
        self._fits[fits] = True
        self._cells = Cells(self._tags, self._steps, fits, self._shape)
        self._table = np.zeros(self._shape)
        self._values: Floats = np.zeros(len(group.classes))
        self._known: Floats = self._values
        # values and reach at the last table over all classes
        self._base: tuple[Floats, Floats] | None = None
        # values and reach at the last watched table
        self._watched: tuple[Floats, Floats] | None = None

    def _grid(self) -> tuple[Integers, tuple[int, ...]]:
        """Unit of each row in the table, and the table's shape: fine in the last row, coarse in the others."""
        divisors = np.gcd.reduce(self._weights, axis=0)
        units = np.ones(len(divisors), dtype=np.int64)
        narrow = _MOST_NARROW * self._fineness
        for row in reversed(range(len(divisors))):
            last = row == len(divisors) - 1
            cells = self._fineness * _CELLS if last else min(self._fineness * _FEW_CELLS, narrow)
            divisor, limit = max(1, int(divisors[row])), int(self._limits[row])
            # a row without room for two cells is left to the search
            units[row] = divisor * -(-(limit // divisor + 1) // cells) if cells > 1 else limit + 1
            if not last:
                narrow //= limit // int(units[row]) + 1
        return units, tuple(int(cells) for cells in self._limits // units + 1)

    def price(self, values: Floats, *, price: float | None = None, near: bool = False) -> None:
        """Fill the table for values per class of the problem (negative ones count as zero), with near only for the near classes.

        Near are those that were at the last watched table, or whose own rise since then brought them there.
        With a price, classes are left out that cannot be part of a pattern worth more than it: what a pattern with a class was worth at
        the last full table has risen at most by what the class and the others, each as much as any did, have risen since.
        """
        self._values = np.maximum(0.0, values[self._classes])
        useful = self._fits & (self._values > 0.0)
        if near and price is not None and self._watched is not None:
            then, reach = self._watched
            useful &= reach + self._values - then >= _NEAR_FRACTION * price
        complete = True
        if price is not None and not near and self._base is not None:
            before, reach = self._base
            rise = self._values - before
            others = (self._most - 1) * max(0.0, float(rise.max(initial=0.0)))
            possible = reach + rise + others > price * (1.0 - 1e-9)
            complete = bool(np.count_nonzero(useful & possible) > _COMPLETE_PART * np.count_nonzero(useful))
            useful = useful if complete else useful & possible
        self._known, self._values = self._values, np.where(useful, self._values, 0.0)
        self._table = self._cells.table(self._values)
        if not near and complete:
            self._base = (self._values, self._reach())

    def _room_value(self, left: Integers) -> Floats:
        """Upper value of what fits into rooms left ([..., rows], none negative)."""
        cells = left // self._units
        out: Floats = self._table[tuple(np.moveaxis(cells, -1, 0))]
        return out

    def _reach(self) -> Floats:
        """Upper value of the best pattern with each class."""
        return np.where(self._fits, self._values + self._table.ravel()[self._beside], 0.0)

    def headroom(self, price: float) -> Floats:
        """What each class may cost at most before a pattern with it and valued companions is worth more than price."""
        out: Floats = np.maximum(0.0, price - self._table.ravel()[self._beside])
        return out

    @property
    def classes(self) -> Integers:
        """The classes of the group."""
        return self._classes

    def spare(self, values: Floats, price: float) -> Floats:
        """By how much each class may rise beside all others before a pattern that is worth less than price now is worth more.

        values are per class of the problem. What a pattern lacks is shared among as many as may sit together.
        """
        own = np.maximum(0.0, values[self._classes])
        room = self._cells.table(own).ravel()[self._beside]
        return np.where(self._fits, np.maximum(0.0, price - own - room) / self._most, math.inf)

    def watch(self) -> None:
        """Remember how near classes are to a price at the values of the (full) table."""
        self._watched = (self._known, self._known + self._table.ravel()[self._beside])

    def best(self, price: float, *, quick: bool = False) -> Valued:
        """Patterns worth more than price, the most valuable one among them, and an upper value of all; with quick only patterns."""
        ceiling = float(self._table.flat[-1])
        if ceiling <= price:
            return Valued([], ceiling)
        reach = self._reach()
        items = np.flatnonzero((reach > price) & (self._values > 0.0))
        rows, worth = self._completed(items, items, reach)
        found = {self._named(row): None for row, value in zip(rows, worth, strict=True) if value > price}
        if quick:
            return Valued(sorted(found), ceiling)
        floor = max(float(worth.max(initial=0.0)), price)
        pattern, upper = self._search(floor)
        if pattern:
            found[self._named(np.array(pattern))] = None
        if not found and upper > floor * (1.0 + 1e-6) and self._fineness < _FINEST:
            return self._best_of_finer(price, min(ceiling, upper))
        return Valued(sorted(found), min(ceiling, upper))

    def _best_of_finer(self, price: float, upper: float) -> Valued:
        """The same by a table with more cells; upper is what is known already."""
        if self._finer is None:
            self._finer = Knapsack(self._group, self._fineness * _FINER)
        values = np.zeros(int(self._classes.max()) + 1)
        values[self._classes] = self._values
        self._finer.price(values)
        found = self._finer.best(price)
        return Valued(found.patterns, min(upper, found.upper_value))

    def _named(self, items: Integers) -> tuple[int, ...]:
        return tuple(sorted(self._classes[items[items >= 0]].tolist()))

    def around(self, classes: Sequence[int]) -> list[tuple[int, ...]]:
        """For each of some classes of the group a pattern with it, completed by the table's advice."""
        items = np.flatnonzero(np.isin(self._classes, classes) & self._fits)
        reach = self._reach()
        near = np.flatnonzero((reach > 0.9 * reach.max(initial=0.0)) & (self._values > 0.0))
        rows, _ = self._completed(items, near, reach, most=len(items))
        return [self._named(row) for row in rows]

    def near(self, floor: float, most: int) -> list[tuple[int, ...]]:
        """Up to so many patterns worth at least floor, to which nothing of value can be added; the most valuable ones."""
        items = np.flatnonzero((self._reach() >= floor) & (self._values > 0.0))
        chosen, left, worth = items[:, None], self._alone[items], self._values[items]
        found: list[tuple[float, tuple[int, ...]]] = []
        while len(chosen):
            fits, after = self._extensions(chosen, left, items)
            full = np.flatnonzero((worth >= floor) & ~fits.any(axis=1))
            found += [(-float(value), self._named(row)) for row, value in zip(chosen[full], worth[full], strict=True)]
            fits &= items[None, :] >= chosen[:, -1:]
            value = worth[:, None] + self._values[items][None, :]
            ahead = np.where(fits, value + self._room_value(np.maximum(0, after)), -1.0)
            row, column = np.nonzero(ahead >= max(floor, 1e-12))
            if len(row) > most:
                top = np.argsort(-ahead[row, column], kind="stable")[:most]
                row, column = row[top], column[top]
            chosen = np.concatenate([chosen[row], items[column][:, None]], axis=1)
            left, worth = after[row, column], value[row, column]
        return [pattern for _, pattern in sorted(found)[:most]]

    def _completed(self, seeds: Integers, items: Integers, reach: Floats, most: int = _MOST_SEEDS) -> tuple[Integers, Floats]:
        """For each of the most promising items a pattern around it, completed by the table's advice: item rows (-1: empty), values."""
        seeds = seeds[np.argsort(-reach[seeds], kind="stable")[:most]]
        if len(items) > _MOST_COMPANIONS:
            items = np.sort(items[np.argsort(-reach[items], kind="stable")[:_MOST_COMPANIONS]])
        chosen = seeds[:, None]
        left, worth = self._alone[seeds], self._values[seeds].copy()
        open_rows = np.ones(len(seeds), dtype=bool)
        while open_rows.any() and len(items):
            at = np.flatnonzero(open_rows)
            fits, after = self._extensions(chosen[at], left[at], items)
            score = np.where(fits, self._values[items][None, :] + self._room_value(np.maximum(0, after)), -1.0)
            pick = score.argmax(axis=1)
            good = score[np.arange(len(at)), pick] > 0.0
            column = np.full(len(seeds), -1, dtype=np.int64)
            column[at[good]] = items[pick[good]]
            left[at[good]] = after[np.flatnonzero(good), pick[good]]
            worth[at[good]] += self._values[items[pick[good]]]
            open_rows[at[~good]] = False
            chosen = np.concatenate([chosen, column[:, None]], axis=1)
        return chosen, worth

    def _extensions(self, chosen: Integers, left: Integers, items: Integers) -> tuple[Flags, Integers]:
        """Which items may join each partial pattern, and the room that is left then."""
        after = left[:, None, :] - self._weights[items][None, :, :]
        fits = np.asarray((after >= 0).all(axis=2))
        tags = self._tags[items]
        for column in chosen.T:
            present = column >= 0
            theirs = np.where(present, self._tags[column], -1)
            fits = np.logical_and(fits, theirs[:, None] != tags[None, :])
            if self._apart is not None:
                fits = fits & ~(self._apart[column][:, items] & present[:, None])
        return fits, after

    def _search(self, floor: float) -> tuple[tuple[int, ...], float]:
        """The most valuable pattern above floor (empty when there is none) and an upper value of all."""
        slack = 1e-9 * max(1.0, floor)
        items = np.flatnonzero((self._reach() > floor + slack) & (self._values > 0.0))
        chosen, left, worth = items[:, None], self._alone[items], self._values[items]
        best: tuple[int, ...] = ()
        upper = floor
        while len(chosen):
            top = int(worth.argmax())
            if worth[top] > floor + slack:
                floor, best = float(worth[top]), tuple(int(item) for item in chosen[top])
                upper = max(upper, floor)
            if len(chosen) * len(items) > _MOST_PARTIAL:
                ahead = float((worth + self._room_value(left)).max())
                return best, max(upper, ahead)
            fits, after = self._extensions(chosen, left, items)
            fits &= items[None, :] >= chosen[:, -1:]
            value = worth[:, None] + self._values[items][None, :]
            fits &= value + self._room_value(np.maximum(0, after)) > floor + slack
            row, column = np.nonzero(fits)
            chosen = np.concatenate([chosen[row], items[column][:, None]], axis=1)
            left, worth = after[row, column], value[row, column]
        return best, upper + slack


def _binding(weights: Integers, limits: Integers) -> tuple[int, list[int]]:
    """The most residents, and the rows that can overflow: the one that allows so few, and those that so many of the largest overfill."""
    least = weights.min(axis=0, initial=2**62)
    most = np.where(least > 0, limits // np.maximum(1, least), len(weights))
    fewest = int(most.argmin())
    largest = np.sort(weights, axis=0)[::-1][: int(most[fewest])].sum(axis=0)
    return max(1, int(most[fewest])), [row for row in range(len(limits)) if row == fewest or largest[row] > limits[row]]


def _in_order(weights: Integers, limits: Integers, rows: Sequence[int]) -> list[int]:
    """The rows with the one that separates patterns last: memory, the first, where it binds; then from the least to the most in demand."""
    loads = weights.mean(axis=0) / np.maximum(1, limits)
    states = limits // np.maximum(1, np.gcd.reduce(weights, axis=0)) + 1
    fine = max(rows, key=lambda row: (states[row] > _FEW_CELLS, -row))
    return sorted(rows, key=lambda row: (row == fine, loads[row], -row))


def _apart(group: Group) -> Flags | None:
    """Which items may not meet by name; None when all may."""
    if not any(group.strangers):
        return None
    tags = np.array(group.tags)
    out = np.zeros((len(tags), len(tags)), dtype=bool)
    for item, strangers in enumerate(group.strangers):
        if strangers:
            out[item] = np.isin(tags, sorted(strangers))
    return out | out.T
