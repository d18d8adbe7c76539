"""Pricing of columns at given duals, and the bound that any duals give.

Lagrange: drop supply, capacity and pinned rows into the objective at prices >= 0. What is left falls apart into one
cheapest mix per demand, one most valuable pattern per pool (used on every GPU if that pays, else never) and the
number of nodes of each pool billed by node. The sum bounds every solution from below, whether or not the duals are
optimal, and stays valid when a search was cut short, because searches then report a bound of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.problem import Demand, shortfall
from solvers.model.arrays import Floats
from solvers.model.columns import Column, LossColumn, MixColumn, PatternColumn, ReplicaColumn, bought
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
    unserved_prices: tuple[float, ...]
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
    """What one round of pricing found: bound, cheapest value per demand, columns worth adding.

    prices are such that no GPU sells more than it costs; wanted is the value of the cheapest mixes of all demands at them: the GPUs
    and nodes of every solution are worth as much.
    """

    prices: Prices
    bound: float
    mix_values: list[float]
    columns: list[Column]

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
        self._sellers = [Slices(group) if group.layouts else Knapsack(group) for group in master.slots.groups]

    def quick(self, prices: Prices, known: Floats, demands: Sequence[int], steps: int) -> list[Column]:
        """Columns alone, for some demands, without a bound: patterns of the classes whose value is known, mixes at all prices."""
        columns: list[Column] = []
        for group, seller in zip(self.master.slots.groups, self._sellers, strict=True):
            seller.price(known)
            columns.extend(PatternColumn(group.pool, p) for p in seller.best(prices.gpu_prices[group.pool, 1] * (1.0 + 1e-7)).patterns)
        mixes: list[Column] = []
        for i in demands:
            mixes.extend(self.mixes(prices, i, steps)[1])
        return [*columns, *mixes, *self._homes(mixes)]

    def at(self, prices: Prices, *, steps: int) -> Priced:
        """One round of pricing."""
        problem = self.master.problem
        columns: list[Column] = []
        group_values: list[float] = []
        for group, seller in zip(self.master.slots.groups, self._sellers, strict=True):
            seller.price(prices.slot_values)
            valued = seller.best(prices.gpu_prices[group.pool, 1])
            group_values.append(valued.upper_value)
            columns.extend(PatternColumn(group.pool, pattern) for pattern in valued.patterns)
        feasible = self._balanced(prices, group_values)
        mix_values: list[float] = []
        for i in range(len(problem.demands)):
            value, found = self.mixes(feasible, i, steps)
            mix_values.append(value)
            columns.extend(found)
        columns.extend(self._homes(columns))
        return Priced(feasible, feasible.fixed + sum(mix_values), mix_values, columns)

    def sellers(self, pool: int) -> list[Knapsack | Slices]:
        """What prices the groups of a pool."""
        pairs = zip(self.master.slots.groups, self._sellers, strict=True)
        return [seller for group, seller in pairs if group.pool == pool]

    def _homes(self, columns: Sequence[Column]) -> list[Column]:
        """Patterns for the slots that mixes ask for: without them a class that is new would seem to be nowhere."""
        wanted = {
            self.master.slots.of_shape[shape] for column in columns for shape, _ in bought(column) if shape in self.master.slots.of_shape
        }
        homes: list[Column] = []
        for group, seller in zip(self.master.slots.groups, self._sellers, strict=True):
            inside = wanted.intersection(group.classes)
            if inside:
                homes.extend(PatternColumn(group.pool, pattern) for pattern in seller.around(sorted(inside)))
        return homes

    def _balanced(self, prices: Prices, group_values: Sequence[float]) -> Prices:
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

    def mixes(self, prices: Prices, demand: int, steps: int) -> tuple[float, list[Column]]:
        """A valid lower value of all mixes of a demand, and cheap ones."""
        option_values = np.array(option_prices(self.master, self.stock, prices, demand))
        if demand in self.master.covered:
            return self._cover(prices, demand, option_values)
        options = self.stock.options[demand]
        chosen = self.stock.efficient(demand, option_values)
        if options.demand.tolerate_nodes and options.demand.peak_microrps:
            return self._surviving(prices, demand, option_values, chosen, steps)
        search = self._search(prices, demand, options.demand, option_values, chosen, steps)
        return search.lower_value, [self._column(demand, chosen, mix) for _, mix in search.found[-2:]]

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

    def _cover(self, prices: Prices, demand: int, option_values: Floats) -> tuple[float, list[Column]]:
        """The same for a demand that is covered replica by replica."""
        peak = self.stock.options[demand].demand.peak_microrps
        capacity = np.minimum(np.array(self.stock.options[demand].capacity_microrps), peak)
        rates = np.full(len(capacity), math.inf)
        np.divide(option_values, capacity, out=rates, where=capacity > 0)
        order = np.argsort(rates, kind="stable")[:3]
        columns: list[Column] = [ReplicaColumn(demand, self.stock.shapes[demand][i]) for i in order if rates[i] < math.inf]
        columns.append(LossColumn(demand))
        cheapest = min(float(rates.min(initial=math.inf)), prices.unserved_prices[demand])
        return cheapest * peak, [column for column in columns if self.master.allows(column)]

    def filled(self, duals: Floats, centre: Floats) -> Floats:
        """Duals with a price for every class that no column has reached: the most it may cost before a GPU with it pays.

        A GPU that holds it beside the best of the other classes is then worth no more than its own price.
        """
        known = prices(self.master, duals)
        start = len(self.master.problem.demands)
        lift = np.full(len(self.master.slots.classes), math.inf)
        for group, seller in zip(self.master.slots.groups, self._sellers, strict=True):
            seller.price(known.slot_values)
            classes = list(group.classes)
            lift[classes] = np.minimum(lift[classes], seller.headroom(known.gpu_prices[group.pool, 1]))
        out = duals.copy()
        slots = out[start : start + len(lift)]
        slots[:] = np.fmax(slots, np.minimum(lift, centre[start : start + len(lift)]))
        return np.where(np.isnan(out), centre, out)


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
