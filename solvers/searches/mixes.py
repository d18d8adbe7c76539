"""Replica mixes: the ways one demand can be served, enumerated or priced by depth-first branch and bound.

A mix is a multiset of options (candidate shapes). Everything about it is integer arithmetic, so a mix either serves its
demand in full or it does not: no tolerance can hide half a replica. Only irredundant mixes matter, those where every
replica reduces the shortfall.

The bound inside the search is the fractional cover: what is missing, times the cheapest price per capacity among
the options still open, or the weight of leaving it unserved when that is lower. A search that runs out of steps
still reports a valid lower value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.problem import Demand, shortfall

# relative size of rounding errors in sums of a few hundred float prices
_EPSILON = 1e-9

# different options in one mix; more would only overflow the stack
_MOST_KINDS = 300


@dataclass(frozen=True, slots=True)
class Mix:
    """Counts per option (ascending option index), and what they leave unserved."""

    counts: tuple[tuple[int, int], ...]
    unserved_microrps: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a demand may buy: capacity of one replica and the largest useful number of them, per option."""

    demand: Demand
    capacity_microrps: tuple[int, ...]
    available: tuple[int, ...]


@dataclass(slots=True)
class MixSearch:
    """One search over the mixes of a demand.

    prices are per replica of each option, weight is the price of one unserved micro-request/s (infinite: must be served).
    With keep_all every irredundant mix of value up to ceiling is collected, otherwise each mix that beats the best so far
    (the last one collected is the cheapest). lower_value is a valid lower bound on the value of all mixes; exhausted tells
    whether the node limit cut the search short.
    """

    options: Options
    prices: Sequence[float]
    weight: float = math.inf
    ceiling: float = math.inf
    keep_all: bool = False
    steps: int = 20_000
    found: list[tuple[float, Mix]] = field(default_factory=list)
    lower_value: float = math.inf
    exhausted: bool = False
    _order: list[int] = field(default_factory=list)
    _rates: list[float] = field(default_factory=list)
    _counts: dict[int, int] = field(default_factory=dict)

    def run(self) -> MixSearch:
        """Search, cheapest price per capacity first."""
        capacity = self.options.capacity_microrps

        def rate(option: int) -> float:
            return max(0.0, self.prices[option]) / capacity[option] if capacity[option] else math.inf

        usable = [option for option, count in enumerate(self.options.available) if count > 0]
        self._order = sorted(usable, key=lambda option: (rate(option), -capacity[option], option))
        # prices are sorted by rate, so the cheapest rate left is the next one; options without capacity only count heads
        self._rates = [rate(option) for option in self._order]
        self._offer(shortfall(self.options.demand, 0, 0, 0), 0.0)
        self._descend(0, 0, 0, 0, 0.0)
        return self

    def _bound(self, position: int, missing: int, value: float) -> float:
        rate = self._rates[position] if position < len(self._rates) else math.inf
        rate = min(rate, self.weight)
        if missing <= 0:
            return value
        return value + rate * missing if math.isfinite(rate) else math.inf

    def _descend(self, position: int, capacity: int, replicas: int, largest: int, value: float) -> None:
        demand = self.options.demand
        if replicas >= demand.max_replicas or not shortfall(demand, capacity, replicas, largest):
            return
        # the largest replica of a demand that tolerates the loss of a node does not count; it never becomes smaller
        missing = demand.peak_microrps - capacity + (largest if demand.tolerate_nodes else 0)
        for at in range(position, len(self._order)):
            # heads still missing give no bound by themselves: their cheapest price may be zero
            if self._cut(self._bound(at, missing, value)):
                return
            option = self._order[at]
            offered, price = self.options.capacity_microrps[option], self.prices[option]
            top = max(largest, offered)
            for count in range(self._most(option, capacity, replicas, top), 0, -1):
                self._counts[option] = count
                reached, heads, total = capacity + count * offered, replicas + count, value + count * price
                self._offer(shortfall(demand, reached, heads, top), total)
                self._descend(at + 1, reached, heads, top, total)
            self._counts.pop(option, None)

    def _most(self, option: int, capacity: int, replicas: int, largest: int) -> int:
        """The largest number of replicas of an option that can still be irredundant."""
        demand, offered = self.options.demand, self.options.capacity_microrps[option]
        wanted = demand.peak_microrps + (largest if demand.tolerate_nodes else 0)
        useful = -(-max(0, wanted - capacity) // offered) if offered else 0
        useful = max(useful, demand.min_replicas - replicas)
        return min(useful, self.options.available[option], demand.max_replicas - replicas)

    def _cut(self, bound: float) -> bool:
        if bound > self.ceiling:
            self.lower_value = min(self.lower_value, bound)
            return True
        if self.steps <= 0 or len(self._counts) >= _MOST_KINDS:
            self.exhausted = True
            self.lower_value = min(self.lower_value, bound)
            return True
        self.steps -= 1
        return False

    def _offer(self, unserved: int, value: float) -> None:
        if unserved and math.isinf(self.weight):
            return
        total = value + (self.weight * unserved if unserved else 0.0)
        self.lower_value = min(self.lower_value, total)
        if total > self.ceiling or not self._irredundant(unserved):
            return
        self.found.append((total, Mix(tuple(sorted(self._counts.items())), unserved)))
        if not self.keep_all:
            self.ceiling = total - _EPSILON * max(1.0, abs(total))

    def _irredundant(self, unserved: int) -> bool:
        """Whether every replica lowers the shortfall: then the one of least capacity does."""
        if not self._counts:
            return True
        demand, offered = self.options.demand, self.options.capacity_microrps
        capacity = sum(offered[option] * count for option, count in self._counts.items())
        smallest = min(offered[option] for option in self._counts)
        rest = sum(self._counts.values()) - 1
        largest = max(offered[option] for option in self._counts) if rest else 0
        return shortfall(demand, capacity - smallest, rest, largest) > unserved
