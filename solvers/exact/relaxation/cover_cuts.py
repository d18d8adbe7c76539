"""Cuts: what every legal way to serve a demand meets, as rows of the covering program.

At any prices of its options the cheapest way to serve a demand is a valid cut, because it is a minimum over all ways. Quick cuts take
market prices, precise ones the prices at which the program's answer is violated most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Problem
from solvers.exact.relaxation.cover_program import CoverProgram, Cut
from solvers.exact.relaxation.demand_ways import DemandWays
from solvers.exact.relaxation.offers import Offers
from solvers.exact.relaxation.violated_cut import violated
from solvers.model.arrays import Floats
from solvers.model.columns import LossColumn

# a quick cut counts when it is violated by this part
_LEAST_VIOLATION = 1e-4
# demands that cost less than this (scaled) are as good as free
_LEAST_WORTH = 1e-6
# options beside those in use that a precise cut looks at, and what a unit of their weight costs
_COMPANIONS, _LEAN = 8, 1e-3


@dataclass(frozen=True, slots=True)
class CutRounds:
    """Which cuts are sought: quick ones while a round is violated by much, then so many rounds of precise ones.

    On large fleets precise cuts come first: they say at once what many rounds of quick ones say.
    """

    quick: bool = True
    precise_rounds: int = 0


def first_cuts(problem: Problem, offers: Offers) -> list[Cut]:
    """Capacity of each demand, its fewest replicas, and two of them where one may be lost."""
    cuts: list[Cut] = []
    for i, demand in enumerate(problem.demands):
        part = offers.part[offers.of(i)]
        if demand.peak_microrps > 0:
            cuts.append(Cut(i, part, 1.0, 1.0))
        if demand.min_replicas > 1 or (demand.min_replicas and not demand.peak_microrps):
            cuts.append(Cut(i, np.full(len(part), 1.0 / demand.min_replicas), 1.0, 1.0))
        if demand.tolerate_nodes and demand.peak_microrps:
            cuts.append(Cut(i, np.full(len(part), 0.5), 1.0, 1.0))
    return cuts


def separate(
    program: CoverProgram, values: Floats, market: Floats, least: Floats, unserved_prices: Sequence[float] | Mapping[int, float]
) -> tuple[list[Cut], float]:
    """Cuts that values of the program's columns violate at market prices per option, and by how much in all.

    least is per demand what the cheapest way to serve it costs at these prices.
    """
    usage, offers = program.usage(values), program.offers
    cuts: list[Cut] = []
    total = 0.0
    for i, demand in enumerate(program.master.problem.demands):
        own = offers.of(i)
        # leaving an idle demand without its fewest replicas costs the program nothing
        idle = not demand.peak_microrps and math.isfinite(unserved_prices[i])
        if own.start == own.stop or demand.max_replicas < 1 or idle or not _LEAST_WORTH < least[i] < math.inf:
            continue
        loss = unserved_prices[i] * demand.peak_microrps / least[i] if math.isfinite(unserved_prices[i]) else 1.0
        # a replica that weighs more than the least of all ways makes the cut hold by itself: no more is needed
        weights = np.minimum(1.0, market[own] / least[i])
        lost = program.place(LossColumn(i))
        have = float(weights @ usage[own]) + (loss * float(values[lost]) if lost is not None else 0.0)
        if have < 1.0 - _LEAST_VIOLATION:
            cuts.append(Cut(i, weights, loss, 1.0))
            total += float(least[i]) * (1.0 - have)
    return cuts, total


def precise(
    program: CoverProgram,
    demand_ways: DemandWays,
    values: Floats,
    reduced: Floats,
    unserved_prices: Sequence[float] | Mapping[int, float],
    stop: Callable[[], bool],
) -> list[Cut]:
    """The most violated cuts of demands that must be served.

    reduced is per option what it lacks in worth to pay: the options that lack least take part beside those in use. stop is asked before
    each demand.
    """
    usage, offers = program.usage(values), program.offers
    cuts: list[Cut] = []
    for i, demand in enumerate(program.master.problem.demands):
        own = offers.of(i)
        if own.start == own.stop or not demand.peak_microrps or math.isfinite(unserved_prices[i]):
            continue
        if stop():
            break
        useful, ways = demand_ways.of(i)
        lean = np.full(len(useful), math.inf)
        lean[np.argsort(reduced[own][useful], kind="stable")[:_COMPANIONS]] = _LEAN
        found = violated(ways, usage[own][useful], lean)
        if found is not None:
            weights = np.ones(own.stop - own.start)
            weights[useful] = found
            cuts.append(Cut(i, weights, 1.0, 1.0))
    return cuts
