"""What whole numbers of GPUs and nodes say about the cost: a bound above the linear one.

At any prices of slots and GPUs, the cheapest mixes of all demands together can be worth no more than all GPUs sell: one cut
on the numbers of GPUs used per pool. The cheapest whole numbers that meet every cut so far bound the cost of every solution.
With one cut and fractions this is the bound of Lagrange; whole GPUs, and whole nodes where a pool is billed by node, lift it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import highspy
import numpy as np

from solvers.exact.highs import silent_solver
from solvers.exact.pricing import Priced
from solvers.model.master import Master

# branch and bound nodes of one small program; its dual bound is valid wherever it stops
_MOST_NODES = 2_000
_NONE = np.zeros(0, dtype=np.int32)


@dataclass(slots=True)
class Counts:
    """The cuts of a cost stage, and the small integer program over GPUs and nodes per pool."""

    master: Master
    bound: float = 0.0
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
        """The bound (scaled like the master) over all cuts; nodes holds the whole numbers of nodes that attain it."""
        pools = self.master.problem.pools
        count = len(pools)
        if not count:
            return 0.0
        solver = silent_solver()
        solver.setOptionValue("mip_rel_gap", 1e-7)
        solver.setOptionValue("mip_max_nodes", _MOST_NODES)
        costs = np.array([self.master.gpu_price(i) for i in range(count)] + [self.master.node_price(i) for i in range(count)])
        costs[count:] *= np.array([pool.billing == "node" for pool in pools])
        by_node = [pool.billing == "node" for pool in pools]
        lower = np.array(
            [0] * count + [min(p.min_nodes, p.nodes) if whole else p.nodes for p, whole in zip(pools, by_node, strict=True)],
            dtype=np.float64,
        )
        upper = np.array([pool.gpus for pool in pools] + [pool.nodes for pool in pools], dtype=np.float64)
        every = np.arange(2 * count, dtype=np.int32)
        solver.addCols(2 * count, costs, lower, upper, 0, _NONE, _NONE, np.zeros(0))
        solver.changeColsIntegrality(2 * count, every, np.full(2 * count, highspy.HighsVarType.kInteger))
        for i, pool in enumerate(pools):
            solver.addRow(-math.inf, 0.0, 2, np.array([i, count + i], dtype=np.int32), np.array([1.0, -float(pool.gpus_per_node)]))
        for wanted, coefficients in self._rows:
            solver.addRow(wanted, math.inf, 2 * count, every, np.array(coefficients))
        solver.run()
        if solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
            return math.inf
        info = solver.getInfo()
        self.bound = max(self.bound, info.mip_dual_bound)
        if info.primal_solution_status == 2:
            self.nodes = [round(value) for value in solver.getSolution().col_value[count:]]
        return self.bound
