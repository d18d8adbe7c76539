"""Pricing of columns at given duals, and the bound that any duals give.

Lagrange: drop supply, capacity and pinned rows into the objective at prices >= 0. What is left falls apart into one
cheapest mix per demand, one most valuable pattern per pool (used on every GPU if that pays, else never) and the
number of nodes of each pool billed by node. The sum bounds every solution from below, whether or not the duals are
optimal, and stays valid when a search was cut short, because searches then report a bound of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.problem import Demand, shortfall
from solvers.model.arrays import Floats, Integers
from solvers.model.columns import MixColumn
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.searches.knapsack import Knapsack
from solvers.searches.least import cheapest
from solvers.searches.mixes import Mix, MixSearch, Options
from solvers.searches.slices import Slices

# combinations that a search of the mixes of one demand inspects where capacity alone does not decide
_STEPS = 600


@dataclass(frozen=True, slots=True)
class Prices:
    """Duals as prices: value of a slot per class, price of a GPU per (pool, block size), of an unserved micro-request/s per demand."""

    slot_values: Floats
    gpu_prices: dict[tuple[int, int], float]
    unserved_prices: Sequence[float] | Mapping[int, float]
    node_values: tuple[float, ...]
    pinned_value: float
    fixed: float


def prices(master: Master, duals: Floats) -> Prices:
    """Prices of a stage at row duals (signs as a minimising solver gives them); wrong signs and missing duals count as zero."""
    problem = master.problem
    duals = np.nan_to_num(duals)
    start = len(problem.demands)
    slot_values = np.maximum(0.0, duals[start : start + len(master.slots.classes)])
    gpu_prices: dict[tuple[int, int], float] = {}
    node_values: list[float] = []
    fixed = 0.0
    for index in range(len(problem.pools)):
        price = master.gpu_price(index)
        nodes_worth = blocks_worth = 0.0
        for size in master.block_sizes[index]:
            scarcity = max(0.0, -float(duals[master.capacity_rows(index, size)[-1]]))
            price += scarcity
            nodes_worth += scarcity * master.row_room(index, size)
            blocks_worth += scarcity * master.row_room(index, size) if size > 1 else 0.0
            gpu_prices[index, size] = price
        node_values.append(blocks_worth)
        fixed += _nodes_value(master, index, nodes_worth)
    unserved: list[float] = []
    for i in range(len(problem.demands)):
        row = master.pinned_row(i)
        unserved.append(master.unserved_price(i) + (max(0.0, -float(duals[row])) / master.rate_unit if row is not None else 0.0))
    pinned_value = sum(max(0.0, -float(duals[row])) * limit for row, limit in master.pinned_limits())
    return Prices(slot_values, gpu_prices, tuple(unserved), tuple(node_values), pinned_value, fixed - pinned_value)


def _nodes_value(master: Master, index: int, nodes_worth: float) -> float:
    pool = master.problem.pools[index]
    if pool.billing != "node":
        return -nodes_worth * pool.nodes
    reduced = master.node_price(index) - nodes_worth
    return reduced * (min(pool.min_nodes, pool.nodes) if reduced >= 0 else pool.nodes)


@dataclass(slots=True)
class Priced:
    """What one full look gives: a bound, and the cheapest value per demand.

    prices are such that no GPU sells more than it costs; wanted is the value of the cheapest mixes of all demands at them: the GPUs
    and nodes of every solution are worth as much.
    """

    prices: Prices
    bound: float
    mix_values: list[float]

    @property
    def wanted(self) -> float:
        """Value of the cheapest mixes, less what pinned unserved demand may take."""
        return sum(self.mix_values) - self.prices.pinned_value


class Pricing:
    """Cheap mixes and valuable patterns of one master, at any prices."""

    def __init__(self, master: Master, stock: ShapeCatalogue) -> None:
        """Build the knapsacks once."""
        self.master = master
        self.stock = stock
        self._capacity = [np.array(options.capacity_microrps, dtype=np.int64) for options in stock.options]
        self.every_seller = [Slices(group) if group.layouts else Knapsack(group) for group in master.slots.groups]

    def sellers(self, pool: int) -> list[Knapsack | Slices]:
        """What prices the groups of a pool."""
        pairs = zip(self.master.slots.groups, self.every_seller, strict=True)
        return [seller for group, seller in pairs if group.pool == pool]

    def balanced(self, prices: Prices, group_values: Sequence[float]) -> Prices:
        """Prices at which no GPU sells more than it costs: slots become cheaper (Farley) where cost is the goal, else GPUs dearer."""
        valued = list(zip(self.master.slots.groups, group_values, strict=True))
        if self.master.goal.priority is None:
            slot_values = prices.slot_values.copy()
            for group, value in valued:
                price = prices.gpu_prices[group.pool, 1]
                if value > price:
                    classes = list(group.classes)
                    slot_values[classes] = np.minimum(slot_values[classes], prices.slot_values[classes] * (price / value))
            return replace(prices, slot_values=slot_values)
        gpu_prices, fixed = dict(prices.gpu_prices), prices.fixed
        for (index, size), price in prices.gpu_prices.items():
            rise = max(0.0, *(value - prices.gpu_prices[index, 1] for group, value in valued if group.pool == index), 0.0)
            gpu_prices[index, size] = price + rise
            fixed -= rise * self.master.problem.pools[index].gpus if size == 1 else 0.0
        return replace(prices, gpu_prices=gpu_prices, fixed=fixed)

    def lifted(self, prices: Prices) -> Floats:
        """Values of slots that are as high as others allow: where a GPU has something to spare, all its slots share it.

        Where no GPU sells more than it costs, it does not at these values either, and every demand costs as much or more.
        """
        rise = np.full(len(prices.slot_values), math.inf)
        for group, seller in zip(self.master.slots.groups, self.every_seller, strict=True):
            if isinstance(seller, Slices):
                rise[list(group.classes)] = 0.0
            else:
                spare = seller.spare(prices.slot_values, prices.gpu_prices[group.pool, 1])
                rise[seller.classes] = np.minimum(rise[seller.classes], spare)
        return prices.slot_values + np.where(np.isfinite(rise), rise, 0.0)

    def cheapest_mix(
        self, index: int, option_values: Floats, unserved_price: float, among: Integers | None = None, steps: int = _STEPS
    ) -> tuple[float, Counter[int] | None]:
        """A lower value of all mixes of a demand at prices of its options, and copies per option of the cheapest; None when none was found.

        among are the options that take part, by default all. Where capacity alone does not decide, steps combinations are inspected.
        """
        options = self.stock.options[index]
        demand = options.demand
        if not len(option_values):
            missing = shortfall(demand, 0, 0, 0)
            return (unserved_price * missing if missing else 0.0), None
        chosen = np.array(self.stock.efficient(index, option_values), dtype=np.int64) if among is None else among
        if demand.tolerate_nodes and demand.peak_microrps:
            return self._surviving(index, option_values, chosen, unserved_price, steps)
        return self.covering(index, demand, option_values, chosen, unserved_price, steps)

    def covering(
        self, index: int, demand: Demand, option_values: Floats, chosen: Integers, unserved_price: float, steps: int = _STEPS
    ) -> tuple[float, Counter[int] | None]:
        """As cheapest_mix() for a demand that does not tolerate the loss of a node, with some of the options.

        The cheapest cover says it all where its number of replicas is one that the demand may have.
        """
        options = self.stock.options[index]
        capacity = np.minimum(self._capacity[index][chosen], max(1, demand.peak_microrps))
        useful = capacity > 0
        # a replica that carries nothing is one more all the same
        heads = demand.min_replicas if math.isinf(unserved_price) and bool(useful.all()) else 0
        lower = 0.0
        if demand.peak_microrps or heads:
            found = cheapest(capacity[useful], np.maximum(0.0, option_values[chosen[useful]]), demand.peak_microrps, unserved_price, heads)
            lower = found.value
            if demand.min_replicas <= found.counts.total() <= demand.max_replicas and (found.counts or math.isfinite(unserved_price)):
                return lower, Counter({int(chosen[useful][option]): count for option, count in found.counts.items()})
        some = Options(demand, tuple(options.capacity_microrps[i] for i in chosen), tuple(options.available[i] for i in chosen))
        search = MixSearch(some, [float(option_values[i]) for i in chosen], weight=unserved_price, steps=steps).run()
        counts = Counter({int(chosen[option]): count for option, count in search.found[-1][1].counts}) if search.found else None
        return max(lower, search.lower_value), counts

    def _surviving(
        self, index: int, option_values: Floats, chosen: Integers, unserved_price: float, steps: int
    ) -> tuple[float, Counter[int] | None]:
        """Mixes that carry the peak without their largest replica: one search for each size that may be the largest.

        A search of that size covers the peak and the largest replica with replicas that are no larger: the plain question.
        """
        real = self.stock.options[index].demand
        capacity = self._capacity[index][chosen]
        must = math.isinf(unserved_price)
        # a part of a larger target would be more than what a missing replica counts for
        plain = replace(real, tolerate_nodes=0, min_replicas=max(real.min_replicas, 2) if must else 0)
        lower = math.inf if must else unserved_price * real.peak_microrps
        best, counts = math.inf, None
        for least, size in sorted(self._by_largest(real.peak_microrps, capacity, option_values[chosen], unserved_price)):
            if least >= best:
                break
            target = replace(plain, rate_microrps=(real.peak_microrps + size,))
            value, found = self.covering(index, target, option_values, chosen[capacity <= size], unserved_price, steps)
            lower = min(lower, value)
            if found is not None and (total := self._total(index, target, found, option_values, unserved_price)) < best:
                best, counts = total, found
        return lower, counts

    @staticmethod
    def _by_largest(peak: int, capacity: Integers, values: Floats, unserved_price: float) -> Iterator[tuple[float, int]]:
        """For each size of the largest replica what a mix costs at least, at the best price per capacity of replicas no larger."""
        rates = np.full(len(capacity), math.inf)
        np.divide(values, capacity, out=rates, where=capacity > 0)
        for size in np.unique(capacity).tolist():
            yield min(float(rates[capacity <= size].min()), unserved_price) * (peak + size), size

    def _total(self, index: int, demand: Demand, counts: Counter[int], option_values: Floats, unserved_price: float) -> float:
        """What a mix costs at prices of its options, with what it leaves unserved."""
        capacity = self._capacity[index]
        paid = sum(float(option_values[option]) * count for option, count in counts.items())
        missing = demand.peak_microrps - sum(int(capacity[option]) * count for option, count in counts.items())
        return paid + (unserved_price * missing if missing > 0 else 0.0)


def option_prices(master: Master, stock: ShapeCatalogue, at: Prices, demand: int) -> list[float]:
    """What each option of a demand costs at some prices."""
    out: list[float] = []
    for index in stock.shapes[demand]:
        shape = master.problem.shapes[index]
        if takes_whole_gpus(shape):
            out.append(shape.gpus * at.gpu_prices[shape.pool, shape.gpus])
        else:
            out.append(float(at.slot_values[master.slots.of_shape[index]]))
    return out


def mix_column(stock: ShapeCatalogue, demand: int, mix: Mix) -> MixColumn:
    """A mix in terms of shapes."""
    return MixColumn(demand, tuple((stock.shapes[demand][option], count) for option, count in mix.counts), mix.unserved_microrps)
