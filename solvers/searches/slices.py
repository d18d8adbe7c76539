"""The most valuable patterns of a pool in MIG mode: for every layout, the best class for each of its slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from solvers.model.arrays import Floats
from solvers.model.slots import Group
from solvers.searches.knapsack import Valued

# choices of a class for a slot that one search inspects; beyond that the bound without exclusions stands
_MOST_STEPS = 500


class Slices:
    """The patterns of one group of MIG classes, priced many times."""

    def __init__(self, group: Group) -> None:
        """Where slots of a profile ask the same of the host and nobody is excluded, every slot takes the best class of its profile."""
        self._group = group
        alike = {(name, weights) for name, weights in zip(group.profiles, group.weights, strict=True)}
        self._plain = not any(group.strangers) and len(alike) == len(set(group.profiles))
        self._values: Floats = np.zeros(0)
        self._ranked: dict[str, list[int]] = {}

    def price(self, values: Floats) -> None:
        """Take values per class of the problem; negative ones count as zero."""
        group = self._group
        self._values = np.maximum(0.0, values[list(group.classes)])
        self._ranked = {name: [] for name in sorted(set(group.profiles))}
        for item in np.argsort(-self._values, kind="stable"):
            self._ranked[group.profiles[item]].append(int(item))

    def _top(self, name: str) -> float:
        ranked = self._ranked.get(name)
        return float(self._values[ranked[0]]) if ranked else 0.0

    def headroom(self, price: float) -> Floats:
        """What each class may cost at most before a pattern with it and valued companions is worth more than price."""
        group = self._group
        room = {}
        for name in self._ranked:
            rest = [sum(map(self._top, layout)) - self._top(name) for layout in group.layouts if name in layout]
            room[name] = max(0.0, price - max(rest, default=0.0))
        return np.array([room[name] for name in group.profiles])

    def around(self, classes: Sequence[int]) -> list[tuple[int, ...]]:
        """For each of some classes of the group a pattern with it among the most valuable others."""
        found: list[tuple[int, ...]] = []
        for item, slot in enumerate(self._group.classes):
            if slot in classes:
                name = self._group.profiles[item]
                layout = max((x for x in self._group.layouts if name in x), key=lambda x: sum(map(self._top, x)), default=None)
                if layout is not None:
                    rest = list(layout)
                    rest.remove(name)
                    search = _Filling(
                        self._group,
                        self._values,
                        {**self._ranked, "": [item]},
                        ["", *(n for n in rest if self._ranked.get(n))],
                        plain=self._plain,
                    )
                    search.descend(0, 0.0)
                    found.append(tuple(sorted(self._group.classes[i] for i in search.best)))
        return found

    def best(self, price: float) -> Valued:
        """Patterns worth more than price, one per layout, and an upper value of all."""
        worth = sorted(((sum(map(self._top, layout)), layout) for layout in self._group.layouts), reverse=True)
        found: dict[tuple[int, ...], None] = {}
        upper = 0.0
        for value, layout in worth:
            if value <= price:
                upper = max(upper, value)
                break
            search = _Filling(
                self._group, self._values, self._ranked, sorted(name for name in layout if self._ranked.get(name)), plain=self._plain
            )
            search.descend(0, 0.0)
            upper = max(upper, value if search.steps <= 0 else search.value)
            if search.value > price:
                found[tuple(sorted(self._group.classes[item] for item in search.best))] = None
        return Valued(sorted(found), upper)


@dataclass(slots=True)
class _Filling:
    """The best classes for the slots of one layout, depth first, with exclusions and the rows of the host kept."""

    group: Group
    values: Floats
    ranked: dict[str, list[int]]
    slots: Sequence[str]
    plain: bool
    steps: int = _MOST_STEPS
    value: float = -1.0
    best: tuple[int, ...] = ()
    _chosen: list[int] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)

    def descend(self, at: int, value: float) -> None:
        """Fill the slots from one on; equal slots in the order of the ranking, for their order does not matter."""
        if at == len(self.slots):
            if value > self.value + 1e-12:
                self.value, self.best = value, tuple(self._chosen)
            return
        name = self.slots[at]
        again = at > 0 and self.slots[at - 1] == name and len(self._places) == at
        rest = sum(float(self.values[self.ranked[other][0]]) for other in self.slots[at + 1 :])
        for place in range(self._places[-1] if again else 0, len(self.ranked[name])):
            item = self.ranked[name][place]
            self.steps -= 1
            worth = float(self.values[item])
            if (worth <= 0.0 and name) or value + worth + rest <= self.value + 1e-12 or self.steps <= 0:
                break
            if self.plain or self._fits(item):
                self._chosen.append(item)
                self._places.append(place)
                self.descend(at + 1, value + worth)
                self._places.pop()
                self._chosen.pop()
        # the slot without a name is the one that was asked for
        if name and self.steps > 0 and value + rest > self.value + 1e-12:
            self._empty(at, value)

    def _empty(self, at: int, value: float) -> None:
        """Go on with this slot empty, and so all that are equal to it."""
        after = next((i for i in range(at, len(self.slots)) if self.slots[i] != self.slots[at]), len(self.slots))
        places = len(self._places)
        self._places.extend([0] * (after - at))
        self.descend(after, value)
        del self._places[places:]

    def _fits(self, item: int) -> bool:
        group = self.group
        if any(group.tags[other] in group.strangers[item] or group.tags[item] in group.strangers[other] for other in self._chosen):
            return False
        together = [*self._chosen, item]
        return all(sum(group.weights[i][row] for i in together) <= limit for row, limit in enumerate(group.limits))
