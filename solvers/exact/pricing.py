"""Pricing of columns at given duals, and the bound that any duals give.

Lagrange: drop supply, capacity and pinned rows into the objective at prices >= 0. What is left falls apart into one
cheapest mix per demand, one most valuable pattern per pool (used on every GPU if that pays, else never) and the
number of nodes of each pool billed by node. The sum bounds every solution from below, whether or not the duals are
optimal, and stays valid when a search was cut short, because searches then report a bound of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.problem import Demand, shortfall
from solvers.model.arrays import Floats
from solvers.model.columns import Column, MixColumn, bought
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.searches.knapsack import Knapsack
from solvers.searches.mixes import Mix, MixSearch, Options
from solvers.searches.slices import Slices


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

    def surviving_mix(
        self, demand: int, option_values: Floats, chosen: Sequence[int], unserved_price: float, steps: int
    ) -> Counter[int] | None:
        """Copies per option of the cheapest mix of a demand that tolerates the loss of a node; None when none was found."""
        at = Prices(np.zeros(0), {}, {demand: unserved_price}, (), 0.0, 0.0)
        found = self._surviving(at, demand, option_values, chosen, steps)[1]
        position = {shape: option for option, shape in enumerate(self.stock.shapes[demand])}
        return Counter({position[shape]: count for shape, count in bought(found[-1])}) if found else None

    def _search(self, prices: Prices, index: int, demand: Demand, option_values: Floats, chosen: Sequence[int], steps: int) -> MixSearch:
        options = self.stock.options[index]
        some = Options(demand, tuple(options.capacity_microrps[i] for i in chosen), tuple(options.available[i] for i in chosen))
        return MixSearch(some, [float(option_values[i]) for i in chosen], weight=prices.unserved_prices[index], steps=steps).run()

    def _column(self, demand: int, chosen: Sequence[int], mix: Mix) -> MixColumn:
        """A mix as a column, with what it really leaves unserved."""
        options = self.stock.options[demand]
        counts = [(chosen[option], count) for option, count in mix.counts]
        capacity_microrps = sum(options.capacity_microrps[option] * count for option, count in counts)
        largest_microrps = max((options.capacity_microrps[option] for option, _ in counts), default=0)
        unserved = shortfall(options.demand, capacity_microrps, sum(count for _, count in counts), largest_microrps)
        return MixColumn(demand, tuple(sorted((self.stock.shapes[demand][option], count) for option, count in counts)), unserved)

    def _surviving(
        self, prices: Prices, demand: int, option_values: Floats, chosen: Sequence[int], steps: int
    ) -> tuple[float, list[Column]]:
        """Mixes that carry the peak without their largest replica: one search for each size that may be the largest.

        A search of that size covers the peak and the largest replica with replicas that are no larger: the plain question.
        """
        options = self.stock.options[demand]
        real = options.demand
        sizes = sorted({options.capacity_microrps[i] for i in chosen})
        must = math.isinf(prices.unserved_prices[demand])
        # a part of a larger target would be more than what a missing replica counts for
        plain = replace(real, tolerate_nodes=0, min_replicas=max(real.min_replicas, 2) if must else 0)
        lower = math.inf if must else prices.unserved_prices[demand] * real.peak_microrps
        best, found = math.inf, list[Column]()
        for size in sorted(sizes, reverse=True):
            fitting = [i for i in chosen if options.capacity_microrps[i] <= size]
            target = replace(plain, rate_microrps=(real.peak_microrps + size,))
            rates = [option_values[i] / options.capacity_microrps[i] for i in fitting if options.capacity_microrps[i]]
            if min([*rates, prices.unserved_prices[demand]], default=math.inf) * target.peak_microrps >= best:
                continue
            search = self._search(prices, demand, target, option_values, fitting, steps)
            lower = min(lower, search.lower_value)
            if search.found and search.found[-1][0] < best:
                best = search.found[-1][0]
                found.append(self._column(demand, fitting, search.found[-1][1]))
        return lower, found[-2:]

    def mix_value(self, demand: int, option_values: Floats, unserved_price: float, steps: int) -> float:
        """A valid lower value of all mixes of a demand at prices of its options."""
        options = self.stock.options[demand]
        if not len(option_values):
            missing = shortfall(options.demand, 0, 0, 0)
            return unserved_price * missing if missing else 0.0
        at = Prices(np.zeros(0), {}, {demand: unserved_price}, (), 0.0, 0.0)
        chosen = self.stock.efficient(demand, option_values)
        if options.demand.tolerate_nodes and options.demand.peak_microrps:
            return self._surviving(at, demand, option_values, chosen, steps)[0]
        return self._search(at, demand, options.demand, option_values, chosen, steps).lower_value


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
