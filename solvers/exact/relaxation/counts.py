"""What whole numbers of GPUs and nodes say about the cost: a bound above the linear one.

At any prices of slots and GPUs, the cheapest mixes of all demands together can be worth no more than all GPUs sell: one cut
on the numbers of GPUs used per pool. The cheapest whole numbers that meet every cut so far bound the cost of every solution.
With one cut and fractions this is the bound of Lagrange; whole GPUs, and whole nodes where a pool is billed by node, lift it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from solvers.exact.relaxation.pricing import Priced
from solvers.highs import Entries, IntegerLimits, LinearSolver, empty
from solvers.model.arrays import Floats
from solvers.model.master import Master

# branch and bound nodes of one small program; its dual bound is valid wherever it stops
_MOST_NODES = 500


@dataclass(slots=True)
class Counts:
    """The cuts of a cost stage, and the small integer program over GPUs and nodes per pool."""

    master: Master
    bound: float = 0.0
    gpus: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    _rows: list[tuple[float, list[float]]] = field(default_factory=list)

    def cut(self, priced: Priced) -> None:
        """Learn from one round of pricing."""
        pools = range(len(self.master.problem.pools))
        coefficients = [*(priced.prices.gpu_prices[pool, 1] for pool in pools), *priced.prices.node_values]
        scale = max([abs(priced.wanted), *coefficients, 1.0])
        # sums of some thousand floats: leave a relative 1e-9 to rounding
        self._rows.append(((priced.wanted - 1e-9 * scale) / scale, [value / scale for value in coefficients]))

    def cuts(self) -> list[tuple[float, list[float]]]:
        """What is known: values of a GPU of each pool and of a node of each pool, and the least that all together are worth.

        The bound is one more cut: no plan costs less.
        """
        costs = self._costs().tolist()
        scale = max(abs(self.bound), *costs, 1.0)
        # as in cut(), and what branch and bound leaves to rounding
        return [*self._rows, (self.bound / scale - 1e-7 * abs(self.bound / scale) - 1e-9, [value / scale for value in costs])]

    def _costs(self) -> Floats:
        """Objective of a GPU of each pool, and of a node where nodes are billed."""
        pools = self.master.problem.pools
        gpus = [self.master.gpu_price(i) for i in range(len(pools))]
        return np.array([*gpus, *(self.master.node_price(i) if pool.billing == "node" else 0.0 for i, pool in enumerate(pools))])

    def solve(self) -> float:
        """The bound (scaled like the master) over all cuts; gpus and nodes are the whole numbers that attain it."""
        pools = self.master.problem.pools
        count = len(pools)
        if not count:
            return 0.0
        by_node = [pool.billing == "node" for pool in pools]
        lower = [0] * count + [min(p.min_nodes, p.nodes) if whole else p.nodes for p, whole in zip(pools, by_node, strict=True)]
        solver = LinearSolver()
        solver.add_columns(self._costs(), lower, [*(pool.gpus for pool in pools), *(pool.nodes for pool in pools)], empty(2 * count))
        entries = Entries()
        for i, pool in enumerate(pools):
            entries.add({i: 1.0, count + i: -float(pool.gpus_per_node)})
        for _, coefficients in self._rows:
            entries.add(dict(enumerate(coefficients)))
        solver.add_rows([-math.inf] * count + [wanted for wanted, _ in self._rows], [0.0] * count + [math.inf] * len(self._rows), entries)
        answer = solver.solve_integer(range(2 * count), IntegerLimits(_MOST_NODES, gap_fraction=1e-7))
        if answer.columns is None and math.isinf(answer.bound):
            return math.inf
        self.bound = max(self.bound, answer.bound)
        if answer.columns is not None:
            whole = [round(value) for value in answer.columns.tolist()]
            self.gpus, self.nodes = whole[:count], whole[count:]
        return self.bound
