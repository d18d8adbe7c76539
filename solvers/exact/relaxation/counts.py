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

    def solve(self) -> float:
        """The bound (scaled like the master) over all cuts; gpus and nodes are the whole numbers that attain it."""
        pools = self.master.problem.pools
        count = len(pools)
        if not count:
            return 0.0
        costs = np.array([self.master.gpu_price(i) for i in range(count)] + [self.master.node_price(i) for i in range(count)])
        by_node = [pool.billing == "node" for pool in pools]
        costs[count:] *= np.array(by_node)
        lower = [0] * count + [min(p.min_nodes, p.nodes) if whole else p.nodes for p, whole in zip(pools, by_node, strict=True)]
        solver = LinearSolver()
        solver.add_columns(costs, lower, [*(pool.gpus for pool in pools), *(pool.nodes for pool in pools)], empty(2 * count))
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
