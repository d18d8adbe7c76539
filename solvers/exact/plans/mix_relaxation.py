"""The relaxation over GPU patterns with whole mixes of each demand as columns, round by round."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from solvers.exact.plans.mix_finder import MixFinder
from solvers.exact.relaxation.cover_root import CoverRoot, Look
from solvers.exact.relaxation.node_numbers import NodeNumbers
from solvers.highs import LinearAnswer
from solvers.model.arrays import Floats
from solvers.model.columns import GpuColumn, MixColumn, PatternColumn, ReplicaColumn

# a choice of nodes that seems so many times as dear as the cheapest has so many rounds of columns more
_FAR, _FAR_ROUNDS = 1.05, 5
# part of the duals before in those at which columns are sought: the relaxation with mixes swings less
_CENTRE = 0.3


class MixRelaxation:
    """The program of a root with mixes; leaves columns and rows behind, but no bounds."""

    def __init__(self, root: CoverRoot, over: Callable[[], bool]) -> None:
        """Over tells that time is up."""
        self.root, self.over = root, over
        self.program = root.program
        self.nodes = NodeNumbers(root.program)
        self.finder = MixFinder(root.offers, root.pricing, root.ways)
        self.mixes: defaultdict[int, list[tuple[int, MixColumn]]] = defaultdict(list)

    def ways(self, rounds: int, enough: Callable[[], bool]) -> list[tuple[float, dict[int, int]]]:
        """Whole numbers of nodes per pool around the relaxed ones with their relaxed values, the cheapest first.

        Each may have so many rounds of columns of its own: with those that other numbers ask for, it would seem dearer than it is. More of
        them where it seems so far too dear that mixes must be missing. The nearest numbers come first, and after them as many as there is
        time for.
        """
        answer = self.program.solver.solve() or self.root.answer
        assert answer is not None
        others = self._elsewhere(answer, {pool for pool, numbers in self.nodes.around(answer).items() if len(numbers) > 1})
        tried: list[tuple[float, dict[int, int]]] = []
        for way in self.nodes.ways(answer):
            if tried and enough():
                break
            self.nodes.fix(way)
            found = self.refine(others, rounds)
            if found is not None and found.value > _FAR * answer.value:
                found = self.refine(others, _FAR_ROUNDS)
            if found is not None:
                tried.append((found.value, way))
        self.nodes.free()
        return sorted(tried, key=lambda item: (item[0], sorted(item[1].items())))

    def _elsewhere(self, answer: LinearAnswer, pools: AbstractSet[int]) -> set[int]:
        """Demands that an answer serves without some pools: other numbers of their nodes hardly matter to these."""
        usage, offers = self.program.usage(answer.columns), self.root.offers
        here = set(offers.demand[(usage > 1e-6) & np.isin(offers.pool, sorted(pools))].tolist())
        return set(range(len(self.root.problem.demands))) - here

    def relax(self, rounds: int) -> LinearAnswer | None:
        """The relaxation with mixes, before any is fixed."""
        return self.refine({}, rounds)

    def bound(self, demand: int, chosen: int | None, given_up: AbstractSet[int] = frozenset()) -> None:
        """Take one mix of a demand and none of the others; or any but those given up."""
        at = [column for column, _ in self.mixes[demand]]
        lower = [1.0 if column == chosen else 0.0 for column in at]
        upper = [math.inf if (chosen is None and column not in given_up) or column == chosen else 0.0 for column in at]
        self.program.solver.bound_columns(at, lower, upper)

    def refine(self, fixed: Container[int], rounds: int) -> LinearAnswer | None:
        """Solve, and look for columns and mixes of the demands that are open, at duals smoothed towards those before."""
        answer = self.program.solver.solve()
        centre: Floats | None = None
        for _ in range(rounds):
            if answer is None or self.over():
                return answer
            duals = answer.duals
            if centre is not None:
                # rows that are new have had no duals before
                duals = _CENTRE * np.append(centre, duals[len(centre) :]) + (1.0 - _CENTRE) * duals
            fresh = self._columns_at(replace(answer, duals=duals), fixed)
            if not fresh and centre is not None:
                duals, fresh = answer.duals, self._columns_at(answer, fixed)
            if not fresh:
                return answer
            centre = duals
            answer = self.program.solver.solve()
        return answer

    def _columns_at(self, answer: LinearAnswer, fixed: Container[int]) -> int:
        """Columns and mixes that pay at the duals of an answer; returns how many are new."""
        look = self.root.look(answer.duals, full=False)
        return self.program.add(look.columns) + self._more(answer, look, fixed)

    def _more(self, answer: LinearAnswer, look: Look, fixed: Container[int]) -> int:
        """Mixes of the demands that are open: around what the program buys at first, then those that lower its value."""
        market, usage = self.root.market(look, 1.0), self.program.usage(answer.columns)
        supply = self.program.supply_row
        prices = market.copy()
        for option, row in supply.items():
            if row < len(answer.duals):
                prices[option] = max(0.0, answer.duals[row])
        found: list[MixColumn] = []
        for demand in range(len(self.root.problem.demands)):
            own = self.root.offers.of(demand)
            if demand in fixed or own.start == own.stop:
                continue
            weight = look.at.unserved_prices[demand]
            if demand not in self.program.mix_row:
                found.extend(self.finder.several(demand, usage[own], prices[own], weight))
            else:
                near = [
                    self.finder.cheapest(demand, prices[own], weight),
                    self.finder.around(demand, usage[own], prices[own] * (1.0 - 0.05 * np.minimum(1.0, usage[own])), weight),
                ]
                found.extend(mix for mix in near if mix is not None)
        return self.add_mixes(found)

    def find_mixes(self, demands: Sequence[int], answer: LinearAnswer, look: Look) -> None:
        """Mixes of some demands around what the program buys."""
        market, usage = self.root.market(look, 1.0), self.program.usage(answer.columns)
        for demand in demands:
            own = self.root.offers.of(demand)
            if own.start < own.stop:
                self.add_mixes(self.finder.several(demand, usage[own], market[own], look.at.unserved_prices[demand]))

    def add_mixes(self, mixes: Sequence[MixColumn]) -> int:
        """Append mixes that are new, with replicas and patterns that hold them; returns how many were."""
        fresh = [mix for mix in dict.fromkeys(mixes) if self.root.master.allows(mix) and self.program.place(mix) is None]
        self.program.add([*self._homes(fresh), *self._replicas(fresh)])
        self.program.add_mixes(fresh)
        for mix in fresh:
            at = self.program.place(mix)
            assert at is not None
            self.mixes[mix.demand].append((at, mix))
        return len(fresh)

    def _homes(self, mixes: Sequence[MixColumn]) -> list[GpuColumn | PatternColumn]:
        """Patterns for the slots that mixes ask for: without them an option that is new would seem to be nowhere."""
        master = self.root.master
        wanted = {
            master.slots.of_shape[shape]
            for mix in mixes
            for shape, _ in mix.shapes
            if shape in master.slots.of_shape and self.root.offers.number[shape] not in self.program.supply_row
        }
        homes: list[GpuColumn | PatternColumn] = []
        for group, seller in zip(master.slots.groups, self.root.pricing.every_seller, strict=True):
            inside = wanted.intersection(group.classes)
            for pattern in seller.around(sorted(inside)) if inside else ():
                homes.append(PatternColumn(group.pool, pattern) if group.layouts else self.root.gpu(group.pool, pattern))
        return homes

    def _replicas(self, mixes: Sequence[MixColumn]) -> list[ReplicaColumn]:
        offers = self.root.offers
        options = [(mix.demand, offers.number[shape]) for mix in mixes for shape, _ in mix.shapes]
        return [ReplicaColumn(demand, int(offers.shape[option])) for demand, option in options if not offers.shared[option]]
