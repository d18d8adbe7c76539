"""Whole mixes of one demand: the cheapest at given prices, and those close to what a relaxation buys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from planner.problem import shortfall
from solvers.exact.relaxation.demand_ways import DemandWays
from solvers.exact.relaxation.offers import Offers
from solvers.exact.relaxation.pricing import Pricing
from solvers.exact.relaxation.violated_cut import covers_of
from solvers.model.arrays import Floats
from solvers.model.columns import MixColumn

# replicas that a relaxation buys cost so much less, and those that it does not buy so many times more
_USED, _UNUSED = 0.05, 3.0


class MixFinder:
    """Finds mixes of the demands of one stage."""

    def __init__(self, offers: Offers, pricing: Pricing, ways: DemandWays) -> None:
        """Offers, pricing and ways of the stage."""
        self._offers, self._pricing, self._ways = offers, pricing, ways
        self._problem = pricing.master.problem

    def several(self, demand: int, usage: Floats, prices: Floats, unserved_price: float) -> list[MixColumn]:
        """Different mixes around what a relaxation buys of each option of a demand, at prices per option."""
        lean = prices * (1.0 - _USED * np.minimum(1.0, usage))
        used = usage > 1e-6
        found: dict[MixColumn, None] = {}
        for each in (prices, lean, np.where(used, prices, _UNUSED * prices + 1e-6), *self._by_pool(demand, usage, prices)):
            mix = self.cheapest(demand, each, unserved_price)
            if mix is not None:
                found[mix] = None
        for part in (usage, usage * (1 - 1e-9)):
            mix = self.around(demand, part, lean, unserved_price)
            if mix is not None:
                found[mix] = None
        if math.isinf(unserved_price):
            found.update(dict.fromkeys(self._in_mixture(demand, usage)))
        return list(found)

    def _in_mixture(self, demand: int, usage: Floats) -> Iterator[MixColumn]:
        """The mixes of which a relaxation that meets all cuts buys a mixture."""
        if self._problem.demands[demand].peak_microrps:
            useful, ways = self._ways.of(demand)
            for cover in covers_of(ways, usage[useful]):
                yield self._column(demand, Counter({int(useful[option]): count for option, count in cover.items()}))

    def _by_pool(self, demand: int, usage: Floats, prices: Floats) -> Iterator[Floats]:
        """Prices at which one of the pools in use is preferred."""
        pool = self._offers.pool[self._offers.of(demand)]
        for index in sorted(set(pool[usage > 1e-6].tolist())):
            yield np.where(pool == index, prices, _UNUSED * prices + 1e-6)

    def cheapest(self, demand: int, prices: Floats, unserved_price: float) -> MixColumn | None:
        """The cheapest mix; None where the demand has none."""
        counts = self._pricing.cheapest_mix(demand, prices, unserved_price)[1]
        return None if counts is None else self._column(demand, counts)

    def around(self, demand: int, usage: Floats, prices: Floats, unserved_price: float) -> MixColumn | None:
        """The replicas that a relaxation buys in whole numbers, and the cheapest way to serve the rest."""
        wanted = self._problem.demands[demand]
        kept = np.floor(usage + 1e-6).astype(np.int64)
        if not 0 < kept.sum() <= wanted.max_replicas or wanted.tolerate_nodes:
            return None
        own = self._offers.of(demand)
        rest = wanted.peak_microrps - int(kept @ self._offers.capacity[own])
        heads = wanted.min_replicas - int(kept.sum())
        counts: Counter[int] | None = Counter()
        if rest > 0 or heads > 0:
            smaller = replace(
                wanted,
                rate_microrps=(max(0, rest),),
                min_replicas=max(0, heads),
                max_replicas=max(0, wanted.max_replicas - int(kept.sum())),
            )
            chosen = np.array(self._pricing.stock.efficient(demand, prices), dtype=np.int64)
            counts = self._pricing.covering(demand, smaller, prices, chosen, unserved_price)[1]
        if counts is None:
            return None
        counts.update({int(option): int(kept[option]) for option in np.flatnonzero(kept)})
        return self._column(demand, counts)

    def _column(self, demand: int, counts: Counter[int]) -> MixColumn:
        shapes = [self._pricing.stock.shapes[demand][option] for option in counts]
        return self.mix_of(demand, dict(zip(shapes, counts.values(), strict=True)))

    def mix_of(self, demand: int, counts: Mapping[int, int]) -> MixColumn:
        """Replicas per shape as a mix of a demand."""
        bought = tuple(sorted((shape, count) for shape, count in counts.items() if count))
        capacities = [self._problem.shapes[shape].capacity_microrps for shape, _ in bought]
        capacity_microrps = sum(each * count for each, (_, count) in zip(capacities, bought, strict=True))
        wanted = self._problem.demands[demand]
        return MixColumn(
            demand, bought, shortfall(wanted, capacity_microrps, sum(count for _, count in bought), max(capacities, default=0))
        )
