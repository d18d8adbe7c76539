"""Column generation: the linear relaxation of a master, with a bound that is valid at every moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from solvers.exact.counts import Counts
from solvers.exact.highs import LinearProgram, LpAnswer
from solvers.exact.pricing import Priced, Pricing, prices
from solvers.exact.resources import first_duals
from solvers.model.arrays import Floats
from solvers.model.columns import Column, NodeColumn
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue

# the last rounds of column generation cost as many as all before and move the bound by less than this
_TAIL_FRACTION = 3e-4
# how far duals may move from the best known ones in one round, as a part of themselves
_WIDTH = 0.02
# numbers of nodes that are tried, and rounds of column generation for each
_MOST_SETTLED, _SETTLING_ROUNDS = 16, 3
# the box meanwhile, and a price of GPUs that nobody pays, as parts of the duals and of a GPU's price
_SETTLING_WIDTH, _FAR = 0.1, 20.0
# numbers of nodes for which a plan is made
_MOST_DIVES = 2
# combinations that the search of the mixes of one demand inspects while there is still much to find, and at the end
_QUICK_STEPS, _THOROUGH_STEPS = 600, 3_000


class Relaxation:
    """Columns, prices and the best bound of one stage; later steps add to all three."""

    def __init__(self, master: Master, stock: ShapeCatalogue, seeds: Sequence[Column]) -> None:
        """Start from the seeds, prices by the share of a GPU that each slot takes, and one round of pricing."""
        self.master = master
        self.pricing = Pricing(master, stock)
        self.counts = Counts(master)
        self.duals = first_duals(master)
        first, self.bound = self.look(self.duals, thorough=False)
        self.best = first
        worth = max(1.0, max(first.mix_values, default=1.0))
        self.program = LinearProgram(master, [10.0 * (value if value < float("inf") else worth) + worth for value in first.mix_values])
        self.program.add([*master.node_columns(), *(column for column in seeds if master.allows(column)), *first.columns])

    def look(self, duals: Floats, *, thorough: bool) -> tuple[Priced, float]:
        """Price at some duals; returns the bound that they give."""
        steps = _THOROUGH_STEPS if thorough else _QUICK_STEPS
        priced = self.pricing.at(prices(self.master, duals), steps=steps)
        bound = priced.bound
        if self.master.goal.priority is None:
            self.counts.cut(priced)
            bound = self.counts.solve()
        return priced, bound

    def run(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Generate columns until none improves, the bound is enough, or the rounds are used up."""
        thorough, width = False, _WIDTH
        self.program.keep_near(*self._around(width))
        for _ in range(rounds):
            answer = self.program.solve()
            if answer is None or enough(self.bound):
                return
            if answer.value - self.best.bound <= _TAIL_FRACTION * abs(answer.value):
                if width > 100.0:
                    return
                width *= 4.0
                self.program.keep_near(*self._around(width))
                continue
            full = np.where(np.isnan(answer.duals), self.duals, answer.duals)
            priced, bound = self.look(full, thorough=thorough)
            self.bound = max(self.bound, bound)
            if priced.bound > self.best.bound:
                self.best, self.duals = priced, full
                self.program.keep_near(*self._around(width))
            fresh = self.program.add(priced.columns)
            if not fresh and thorough:
                return
            thorough = not fresh

    def _around(self, width: float, *, whole: bool = False) -> tuple[Floats, Floats]:
        """Ends of the box around the best duals: a part of their own size; none for pools whose nodes are whole."""
        master, duals = self.master, self.duals
        reach = width * np.abs(duals)
        low, high = np.maximum(0.0, duals - reach), duals + reach
        low[: len(master.problem.demands)], high[: len(master.problem.demands)] = 0.0, 0.0
        first = len(master.problem.demands) + len(master.slots.classes)
        low[first:], high[first:] = 0.0, 0.0
        for index in range(len(master.problem.pools)):
            row = master.capacity_rows(index, 1)[0]
            price = master.gpu_price(index) - duals[row]
            low[row], high[row] = duals[row] - width * price, min(0.0, duals[row] + width * price)
            if whole and master.problem.pools[index].billing == "node":
                low[row], high[row] = -_FAR * price, 0.0
        high[low >= high] = low[low >= high]
        return low, high

    def refine(self, demands: Sequence[int], rounds: int) -> LpAnswer | None:
        """Solve with columns alone, without the box, and generate columns for some demands; the bound is not touched."""
        for turn in range(rounds + 1):
            answer = self.program.solve()
            if answer is None or turn == rounds:
                return answer
            at = prices(self.master, np.where(np.isnan(answer.duals), self.duals, answer.duals))
            known = prices(self.master, answer.duals).slot_values
            if not self.program.add(self.pricing.quick(at, known, demands, _QUICK_STEPS)):
                return answer
        return None

    def settle(self, enough: Callable[[float], bool]) -> list[dict[int, int]]:
        """Whole numbers of nodes for the pools billed by node, per column of nodes: the cheapest that the relaxation can live with.

        What the cuts allow most cheaply is tried; the duals found there are a cut that says what it really costs (Benders).
        """
        columns = self.program.columns
        where = {column.pool: i for i, column in enumerate(columns) if isinstance(column, NodeColumn)}
        if not where or not self.counts.nodes:
            return [{}]
        self.program.keep_near(*self._around(_SETTLING_WIDTH, whole=True))
        tried: dict[tuple[int, ...], float] = {}
        for _ in range(_MOST_SETTLED):
            nodes = tuple(self.counts.nodes[pool] for pool in where)
            if nodes in tried or enough(self.bound):
                break
            self.program.bound(list(where.values()), nodes, nodes)
            for _ in range(_SETTLING_ROUNDS):
                answer = self.program.solve()
                if answer is None or enough(self.bound):
                    break
                tried[nodes] = answer.value
                priced, bound = self.look(np.where(np.isnan(answer.duals), self.duals, answer.duals), thorough=False)
                self.bound = max(self.bound, bound)
                if not self.program.add(priced.columns):
                    break
        best = sorted(tried, key=lambda nodes: (tried[nodes], nodes))[:_MOST_DIVES]
        return [dict(zip(where.values(), nodes, strict=True)) for nodes in best]

    def take(self, nodes: Mapping[int, int]) -> None:
        """Leave the box for good, with whole numbers of nodes per column of nodes."""
        self.program.set_free()
        if nodes:
            self.program.bound(list(nodes), list(nodes.values()), list(nodes.values()))

    def cheapest(self, known: Sequence[Column], most: int) -> list[Column]:
        """Columns of the least reduced cost where nothing is fixed, and the known ones."""
        self.program.set_free()
        self.program.add(column for column in known if self.master.allows(column))
        columns = self.program.columns
        every = [self.master.limits(column) for column in columns]
        self.program.bound(range(len(columns)), [lower for lower, _ in every], [upper for _, upper in every])
        answer = self.refine(range(len(self.master.problem.demands)), _SETTLING_ROUNDS)
        if answer is None:
            return list(known)
        duals = np.nan_to_num(answer.duals)
        worth = [sum(duals[row] * entry for row, entry in self.master.entries(column).items()) for column in columns]
        reduced = np.array([self.master.cost(column) for column in columns]) - np.array(worth)
        keep = set(np.argsort(reduced, kind="stable")[:most].tolist())
        wanted = set(known)
        return [c for i, c in enumerate(columns) if i in keep or c in wanted or isinstance(c, NodeColumn)]
