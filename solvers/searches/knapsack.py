"""The most valuable patterns of a time-shared or MPS group of slot classes, priced with arrays.

A table over two resource rows holds an upper value of what may still come into the room left: a 0/1 knapsack by demand
with weights rounded down to a grid. A row with few reachable sums is not rounded at all. Partial patterns whose value plus table entry
cannot beat the best are dropped, layer by layer, so the search is exact: the table only rounds in favour of the bound, and what fits is
decided in the integers of the Problem.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.model.arrays import Floats, Integers
from solvers.model.slots import Group

# cells of the row that is rounded to a grid: 512 MiB each on an 80 GiB GPU
_CELLS = 64
# a row whose reachable sums are at most so many is kept exactly; other second rows get so many cells
_MOST_STATES = 24
# states of all such rows together
_NARROW_STATES = 64
# partial patterns in one layer; beyond that the table's value stands as the bound
_MOST_PARTIAL = 8_000
# seeds that are completed to patterns in one round
_MOST_SEEDS = 300


@dataclass(frozen=True, slots=True)
class _Axis:
    """One row as the table sees it: a state per room left, and the state that each item leaves of each state (-1: it does not fit)."""

    row: int
    levels: Integers
    after: Integers
    even: bool

    def states(self, left: Integers) -> Integers:
        """The state of each room left; -1 where it is negative."""
        return np.searchsorted(self.levels, left, side="right") - 1


def _axis(row: int, weights: Integers, limit: int, cells: int) -> _Axis:
    sums = _reachable(sorted({int(weight) for weight in weights}), limit)
    if sums is not None:
        levels = np.array(sums, dtype=np.int64)
        return _Axis(row, levels, np.searchsorted(levels, levels[None, :] - weights[:, None], side="right") - 1, even=False)
    unit = -(-(limit + 1) // cells)
    levels = np.arange(limit // unit + 1, dtype=np.int64) * unit
    after = np.arange(len(levels))[None, :] - (weights // unit)[:, None]
    return _Axis(row, levels, np.maximum(after, -1), even=True)


def _reachable(weights: Sequence[int], limit: int) -> list[int] | None:
    """All sums of weights up to a limit; None when they are too many."""
    sums = {0}
    for weight in weights:
        if weight > 0:
            grown = set(sums)
            for start in sums:
                grown.update(range(start, limit + 1, weight))
                if len(grown) > _MOST_STATES:
                    return None
            sums = grown
    return sorted(sums)


@dataclass(frozen=True, slots=True)
class Valued:
    """What pricing a group found: patterns (ascending classes) that are worth more than asked, and an upper value of all."""

    patterns: list[tuple[int, ...]]
    upper_value: float


class Knapsack:
    """The patterns of one group, built once and priced many times."""

    def __init__(self, group: Group) -> None:
        """Arrays of the group's weights and of who may not meet."""
        self._classes = np.array(group.classes, dtype=np.int64)
        self._weights = np.array(group.weights, dtype=np.int64).reshape(len(group.classes), -1)
        self._limits = np.array(group.limits, dtype=np.int64)
        self._most = np.array(group.most, dtype=np.int64)
        self._tags = np.array(group.tags, dtype=np.int64)
        self._apart = _apart(group)
        self._wide, self._narrow = self._axes()
        self._moves: dict[int, tuple[Integers, Integers, int]] = {}
        self._alternatives = self._by_tag()
        self._table = np.zeros((1, 1))
        self._values: Floats = np.zeros(len(group.classes))

    def _axes(self) -> tuple[_Axis, list[_Axis]]:
        """The row that is seen on a fine grid, and those seen in few states: the rows that are most in demand."""
        loads = (self._weights / np.maximum(1, self._limits)[None, :]).mean(axis=0)
        rows = sorted(range(len(self._limits)), key=lambda row: (-loads[row], row))
        axes = {row: _axis(row, self._weights[:, row], int(self._limits[row]), _CELLS) for row in rows}
        # memory is the first row where it binds at all, and it is what separates patterns: it gets the fine grid
        wide = max(rows, key=lambda row: (len(axes[row].levels) > _MOST_STATES, -row))
        narrow: list[_Axis] = []
        states = _NARROW_STATES
        for row in rows:
            if row != wide and states >= 4:
                small = len(axes[row].levels) <= min(states, _MOST_STATES)
                narrow.append(axes[row] if small else _axis(row, self._weights[:, row], int(self._limits[row]), min(states, _MOST_STATES)))
                states //= len(narrow[-1].levels)
        return axes[wide], narrow

    def _move(self, item: int) -> tuple[Integers, Integers, int]:
        """Which narrow states can take an item, which state each leaves, and the first wide state that can."""
        after, fits = np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool)
        for axis in self._narrow:
            states = axis.after[item]
            after = (after[:, None] * len(axis.levels) + np.maximum(0, states)[None, :]).ravel()
            fits = (fits[:, None] & (states >= 0)[None, :]).ravel()
        return np.flatnonzero(fits), after[fits], int(np.searchsorted(self._wide.after[item], 0))

    def _by_tag(self) -> list[list[int]]:
        """Items of which a pattern may hold one; an anonymous item is repeated as often as it may appear."""
        tagged: defaultdict[int, list[int]] = defaultdict(list)
        single: list[list[int]] = []
        for item, tag in enumerate(self._tags):
            if tag >= 0:
                tagged[int(tag)].append(item)
            else:
                fitting = min(
                    (int(limit // weight) for limit, weight in zip(self._limits, self._weights[item], strict=True) if weight), default=9
                )
                single.extend([[item]] * min(int(self._most[item]), fitting))
        return [*tagged.values(), *single]

    def price(self, values: Floats) -> None:
        """Fill the table for values per class of the problem (negative ones count as zero)."""
        self._values = np.maximum(0.0, values[self._classes])
        table = np.zeros((math.prod(len(axis.levels) for axis in self._narrow), len(self._wide.levels)))
        for items in self._alternatives:
            old = table
            for item in items:
                if self._values[item] > 0.0:
                    if table is old:
                        table = old.copy()
                    self._add(table, old, item)
        self._table = table

    def _add(self, table: Floats, old: Floats, item: int) -> None:
        if item not in self._moves:
            self._moves[item] = self._move(item)
        into, out_of, first = self._moves[item]
        rest = old[out_of, : old.shape[1] - first] if self._wide.even else old[out_of][:, self._wide.after[item, first:]]
        rest += self._values[item]
        table[into, first:] = np.maximum(table[into, first:], rest, out=rest)

    def _room_value(self, left: Integers) -> Floats:
        """Upper value of what fits into rooms left ([..., rows], none negative)."""
        narrow = np.zeros(left.shape[:-1], dtype=np.int64)
        for axis in self._narrow:
            narrow = narrow * len(axis.levels) + axis.states(left[..., axis.row])
        out: Floats = self._table[narrow, self._wide.states(left[..., self._wide.row])]
        return out

    def headroom(self, price: float) -> Floats:
        """What each item may cost at most before a pattern with it and valued companions is worth more than price."""
        left = self._limits[None, :] - self._weights
        return np.maximum(0.0, price - self._room_value(np.maximum(0, left)))

    @property
    def classes(self) -> Integers:
        """The classes of the group."""
        return self._classes

    def best(self, price: float) -> Valued:
        """Patterns worth more than price, the most valuable one among them, and an upper value of all."""
        ceiling = float(self._table[-1, -1])
        if ceiling <= price:
            return Valued([], ceiling)
        reach = self._values + self._room_value(np.maximum(0, self._limits[None, :] - self._weights))
        items = np.flatnonzero((reach > price) & (self._values > 0.0))
        rows, worth = self._completed(items, items, reach)
        found = sorted(
            {tuple(sorted(int(c) for c in self._classes[row[row >= 0]])) for row, value in zip(rows, worth, strict=True) if value > price}
        )
        best = max((float(value) for value in worth), default=0.0)
        pattern, upper = self._search(max(best, price))
        if pattern:
            found.append(tuple(sorted(int(c) for c in self._classes[list(pattern)])))
        return Valued(found, min(ceiling, upper))

    def around(self, classes: Sequence[int]) -> list[tuple[int, ...]]:
        """For each of some classes of the group a pattern with it, completed by the table's advice."""
        items = np.flatnonzero(np.isin(self._classes, classes))
        reach = self._values + self._room_value(np.maximum(0, self._limits[None, :] - self._weights))
        near = np.flatnonzero((reach > 0.9 * reach.max(initial=0.0)) & (self._values > 0.0))
        rows, _ = self._completed(items, near, reach)
        return [tuple(sorted(int(c) for c in self._classes[row[row >= 0]])) for row in rows]

    def _completed(self, seeds: Integers, items: Integers, reach: Floats) -> tuple[Integers, Floats]:
        """For each of the most promising items a pattern around it, completed by the table's advice: item rows (-1: empty), values."""
        seeds = seeds[np.argsort(-reach[seeds], kind="stable")[:_MOST_SEEDS]]
        chosen = seeds[:, None]
        left = self._limits[None, :] - self._weights[seeds]
        worth = self._values[seeds].copy()
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

    def _extensions(self, chosen: Integers, left: Integers, items: Integers) -> tuple[NDArray[np.bool_], Integers]:
        """Which items may join each partial pattern, and the room that is left then."""
        after = left[:, None, :] - self._weights[items][None, :, :]
        fits = (after >= 0).all(axis=2)
        count = np.zeros(fits.shape, dtype=np.int64)
        tags = self._tags[items]
        for column in chosen.T:
            present = column >= 0
            same = (column[:, None] == items[None, :]) & present[:, None]
            count += same
            theirs = np.where(present, self._tags[column], -1)
            fits &= (theirs[:, None] != tags[None, :]) | (theirs[:, None] < 0)
            if self._apart is not None:
                fits &= ~(self._apart[column][:, items] & present[:, None])
        fits &= count < self._most[items][None, :]
        return fits, after

    def _search(self, floor: float) -> tuple[tuple[int, ...], float]:
        """The most valuable pattern above floor (empty when there is none) and an upper value of all."""
        reach = self._values + self._room_value(np.maximum(0, self._limits[None, :] - self._weights))
        slack = 1e-9 * max(1.0, floor)
        items = np.flatnonzero((reach > floor + slack) & (self._values > 0.0))
        chosen, left, worth = items[:, None], self._limits[None, :] - self._weights[items], self._values[items]
        best: tuple[int, ...] = ()
        upper = floor
        while len(chosen):
            top = int(worth.argmax())
            if worth[top] > floor + slack:
                floor, best = float(worth[top]), tuple(int(item) for item in chosen[top])
                upper = max(upper, floor)
            if len(chosen) * len(items) > 100 * _MOST_PARTIAL:
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


def _apart(group: Group) -> NDArray[np.bool_] | None:
    """Which items may not meet by name; None when all may."""
    if not any(group.strangers):
        return None
    tags = np.array(group.tags)
    out = np.zeros((len(tags), len(tags)), dtype=bool)
    for item, strangers in enumerate(group.strangers):
        if strangers:
            out[item] = np.isin(tags, sorted(strangers))
    return out | out.T
