"""The ways in which one demand of a stage may be served, for cuts and mixes around a usage."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from planner.problem import Demand
from solvers.exact.relaxation.offers import Offers
from solvers.exact.relaxation.pricing import Pricing
from solvers.exact.relaxation.violated_cut import Cheapest, Ways
from solvers.model.arrays import Floats, Integers
from solvers.searches.least import Cover


class DemandWays:
    """The ways of all demands of a stage, made when they are asked for."""

    def __init__(self, offers: Offers, pricing: Pricing) -> None:
        """Offers and pricing of the stage."""
        self._offers, self._pricing = offers, pricing
        self._known: dict[int, tuple[Integers, Ways]] = {}

    def of(self, demand: int) -> tuple[Integers, Ways]:
        """The options of a demand that carry something (their places among its own), and its ways by these."""
        if demand not in self._known:
            self._known[demand] = self._made(demand)
        return self._known[demand]

    def _made(self, demand: int) -> tuple[Integers, Ways]:
        offers, pricing = self._offers, self._pricing
        capacity = offers.capacity[offers.of(demand)]
        useful = np.flatnonzero(capacity > 0)
        target = int(offers.peak[demand])
        if offers.plain[demand]:
            return useful, Ways(capacity[useful], target)
        wanted = pricing.master.problem.demands[demand]
        return useful, Ways(capacity[useful], target, _covers(pricing, demand, useful), alone=not _many(wanted, capacity[useful]))


def _covers(pricing: Pricing, demand: int, useful: Integers) -> Cheapest:
    """The cheapest mixes of a demand that may have some numbers of replicas only, or tolerates the loss of a node."""

    def cheapest_of(core: Integers, weights: Floats) -> Cover:
        values = np.zeros(len(pricing.stock.shapes[demand]))
        values[useful[core]] = weights
        value, counts = pricing.cheapest_mix(demand, values, math.inf, useful[core])
        place = {int(option): at for at, option in enumerate(useful[core])}
        return Cover(value, Counter({place[option]: count for option, count in (counts or {}).items()}))

    return cheapest_of


def _many(demand: Demand, capacity: Integers) -> bool:
    """Whether a demand may have as many replicas as are ever of use: the peak and the largest replica in the smallest ones."""
    largest = int(capacity.max(initial=0)) if demand.tolerate_nodes else 0
    return -(-(demand.peak_microrps + largest) // int(capacity.min(initial=1))) + 1 <= demand.max_replicas
