"""Maximal patterns of slot classes on one GPU, enumerated or priced by depth-first branch and bound.

Supply rows are inequalities (slots sold >= slots bought), so only patterns to which nothing can be added matter. The bound
is the fractional knapsack over each single resource row: room left times the best value per unit of that row among
the classes still open; the smallest of the rows counts. A search that runs out of steps still reports a valid upper value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from solvers.model.slots import Group

# relative size of rounding errors in sums of a few dozen float values
_EPSILON = 1e-9


@dataclass(slots=True)
class PatternSearch:
    """One search in a group, over values per slot class (indexed by class).

    With keep_all every maximal pattern worth at least floor is collected, otherwise each pattern that beats the best so far
    (the last one collected is the best), filled up until nothing fits. Patterns are sorted tuples of class indexes.
    upper_value bounds the value of all patterns from above; exhausted tells whether the step limit cut the search short.
    """

    group: Group
    values: Sequence[float]
    floor: float = 0.0
    keep_all: bool = False
    steps: int = 200_000
    found: list[tuple[int, ...]] = field(default_factory=list)
    upper_value: float = 0.0
    exhausted: bool = False
    _items: list[int] = field(default_factory=list)
    _worth: list[float] = field(default_factory=list)
    _densities: list[list[float]] = field(default_factory=list)
    _left: list[int] = field(default_factory=list)
    _chosen: list[int] = field(default_factory=list)
    _demands: Counter[int] = field(default_factory=Counter)
    _seen: set[tuple[int, ...]] = field(default_factory=set)

    def run(self) -> PatternSearch:
        """Search, most valuable class first."""
        self._prepare()
        self._densities = [self._best_density(row) for row in range(len(self.group.limits))]
        self._descend(range(len(self._items)), 0.0)
        return self

    def _prepare(self) -> None:
        self._worth = [self.values[i] for i in self.group.classes]
        self._items = sorted(range(len(self.group.classes)), key=lambda item: (-self._worth[item], item))
        self._left = list(self.group.limits)

    def filled(self, pattern: Sequence[int]) -> tuple[int, ...]:
        """A legal pattern of the group, filled up with the most valuable classes that still fit."""
        self._prepare()
        for slot in pattern:
            self._push(self.group.classes.index(slot))
        return self._fill()

    def _best_density(self, row: int) -> list[float]:
        """Best value per unit of a row among the items from each position on."""
        best, densities = 0.0, []
        for item in reversed(self._items):
            weight = self.group.weights[item][row]
            if self._worth[item] > 0:
                best = max(best, self._worth[item] / weight if weight else math.inf)
            densities.append(best)
        return densities[::-1]

    def _bound(self, position: int, value: float) -> float:
        room = math.inf
        if self.group.layouts:
            # the items are sorted by value, so no slot left can be worth more than the item at this position
            room = (max(map(len, self.group.layouts)) - len(self._chosen)) * max(0.0, self._worth[self._items[position]])
        for left, densities in zip(self._left, self._densities, strict=True):
            density = densities[position]
            if density < math.inf:
                room = min(room, left * density)
        return value + room

    def _descend(self, items: Sequence[int], value: float) -> None:
        self._offer(value)
        fitting = [at for at in items if self._fits(self._items[at])]
        self.steps -= len(items)
        for place, at in enumerate(fitting):
            bound = self._bound(at, value)
            if bound < self.floor:
                return
            if self.steps <= 0:
                self.exhausted = True
                self.upper_value = max(self.upper_value, bound)
                return
            item = self._items[at]
            self._push(item)
            self._descend(fitting[place:], value + self._worth[item])
            self._pop(item)

    def _fits(self, item: int) -> bool:
        group = self.group
        if any(weight > left for weight, left in zip(group.weights[item], self._left, strict=True)):
            return False
        tag = group.tags[item]
        if tag >= 0 and (not group.strangers[item].isdisjoint(self._demands) or (not group.layouts and tag in self._demands)):
            return False
        if self._chosen.count(item) >= group.most[item]:
            return False
        return not group.layouts or self._fits_a_layout(item)

    def _fits_a_layout(self, item: int) -> bool:
        profiles = Counter(self.group.profiles[i] for i in (*self._chosen, item))
        return any(all(layout.count(name) >= count for name, count in profiles.items()) for layout in self.group.layouts)

    def _push(self, item: int) -> None:
        self._chosen.append(item)
        if self.group.tags[item] >= 0:
            self._demands[self.group.tags[item]] += 1
        self._left = [left - weight for left, weight in zip(self._left, self.group.weights[item], strict=True)]

    def _pop(self, item: int) -> None:
        self._chosen.pop()
        tag = self.group.tags[item]
        if tag >= 0:
            self._demands[tag] -= 1
            if not self._demands[tag]:
                del self._demands[tag]
        self._left = [left + weight for left, weight in zip(self._left, self.group.weights[item], strict=True)]

    def _offer(self, value: float) -> None:
        self.upper_value = max(self.upper_value, value)
        if not self._chosen or value < self.floor:
            return
        if self.keep_all:
            self.steps -= len(self._items)
            if not any(self._fits(item) for item in self._items):
                self.found.append(self._pattern())
            return
        self.floor = value + _EPSILON * max(1.0, abs(value))
        pattern = self._fill()
        if pattern not in self._seen:
            self._seen.add(pattern)
            self.found.append(pattern)

    def _fill(self) -> tuple[int, ...]:
        """The chosen classes and whatever still fits, most valuable first."""
        added: list[int] = []
        for item in self._items:
            while self._fits(item):
                self._push(item)
                added.append(item)
        pattern = self._pattern()
        for item in reversed(added):
            self._pop(item)
        return pattern

    def _pattern(self) -> tuple[int, ...]:
        return tuple(sorted(self.group.classes[item] for item in self._chosen))
