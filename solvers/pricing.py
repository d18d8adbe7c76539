"""Pricing of columns at given duals, and the bound that any duals give.

Lagrange: drop supply, capacity and pinned rows into the objective at prices >= 0. What is left falls apart into one
cheapest mix per demand, one most valuable pattern per pool (used on every GPU if that pays, else never) and the
number of nodes of each pool billed by node. The sum bounds every solution from below, whether or not the duals are
optimal, and stays valid when a search was cut short, because searches then report a bound of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from planner.problem import Problem
from solvers.candidates import takes_whole_gpus
from solvers.columns import Column, LossColumn, MixColumn, PatternColumn, ReplicaColumn
from solvers.knapsack import Knapsack
from solvers.master import Master
from solvers.mixes import Mix, MixSearch, Options
from solvers.patterns import PatternSearch
from solvers.slots import Group

# items that a search of patterns inspects before the integer program takes over, or at all where there is none
_QUICK_STEPS = 1_000
_THOROUGH_STEPS = 200_000
# combinations that a thorough search of the mixes of one demand inspects
_MIX_STEPS = 20_000
# more mixes of one demand than this, and it is covered replica by replica
_MOST_MIXES = 500
# how close to the best a pattern must be while there is still much to find
_LAX_GAP_FRACTION = 0.05
# a search that inspects this many times more items than columns are wanted would find too many or too few of them
_STEPS_PER_COLUMN = 30


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The candidate shapes of each demand and what it may buy of them."""

    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Options, ...]


def catalogue(problem: Problem, shapes: Sequence[int]) -> Catalogue:
    """Options per demand."""
    by_demand: defaultdict[int, list[int]] = defaultdict(list)
    for index in shapes:
        by_demand[problem.shapes[index].demand].append(index)
    chosen = tuple(tuple(by_demand[i]) for i in range(len(problem.demands)))
    options = tuple(
        Options(
            demand=demand,
            capacity_microrps=tuple(problem.shapes[index].capacity_microrps for index in chosen[i]),
            available=tuple(_available(problem, index) for index in chosen[i]),
        )
        for i, demand in enumerate(problem.demands)
    )
    return Catalogue(chosen, options)


def _available(problem: Problem, index: int) -> int:
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    if shape.mode == "mig":
        return pool.gpus * max(sum(slot.profile == shape.mig_profile for slot in layout) for layout in pool.mig_layouts)
    return pool.nodes * (pool.gpus_per_node // shape.gpus)


@dataclass(frozen=True, slots=True)
class Prices:
    """Duals as prices: value of a slot per class, price of a GPU per (pool, block size), of an unserved micro-request/s per demand."""

    slot_values: tuple[float, ...]
    gpu_prices: dict[tuple[int, int], float]
    unserved_prices: tuple[float, ...]
    fixed: float


def prices(master: Master, duals: Sequence[float]) -> Prices:
    """Prices of a stage at row duals (signs as a minimising solver gives them); wrong signs count as zero."""
    problem = master.problem
    start = len(problem.demands)
    slot_values = tuple(max(0.0, dual) for dual in duals[start : start + len(master.slots.classes)])
    gpu_prices: dict[tuple[int, int], float] = {}
    fixed = 0.0
    for index in range(len(problem.pools)):
        price = master.gpu_price(index)
        nodes_worth = 0.0
        for size in master.block_sizes[index]:
            scarcity = max(0.0, -duals[master.capacity_rows(index, size)[-1]])
            price += scarcity
            nodes_worth += scarcity * master.row_room(index, size)
            gpu_prices[index, size] = price
        fixed += _nodes_value(master, index, nodes_worth)
    unserved: list[float] = []
    for i in range(len(problem.demands)):
        row = master.pinned_row(i)
        unserved.append(master.unserved_price(i) + (max(0.0, -duals[row]) / master.rate_unit if row is not None else 0.0))
    for row, limit in master.pinned_limits():
        fixed -= max(0.0, -duals[row]) * limit
    return Prices(slot_values, gpu_prices, tuple(unserved), fixed)


def _nodes_value(master: Master, index: int, nodes_worth: float) -> float:
    pool = master.problem.pools[index]
    if pool.billing != "node":
        return -nodes_worth * pool.nodes
    reduced = master.node_price(index) - nodes_worth
    return reduced * (min(pool.min_nodes, pool.nodes) if reduced >= 0 else pool.nodes)


@dataclass(slots=True)
class Priced:
    """What one round of pricing found: bound, cheapest value per demand, best value per pool, columns worth adding."""

    prices: Prices
    bound: float
    mix_values: list[float]
    pattern_values: list[float]
    columns: list[Column]


def price(master: Master, stock: Catalogue, knapsacks: Sequence[Knapsack | None], at: Prices, *, thorough: bool) -> Priced:
    """Cheap mixes and valuable patterns at some prices; a thorough search finds the best ones and gives the tightest bound."""
    problem = master.problem
    columns: list[Column] = []
    pattern_values = [0.0] * len(problem.pools)
    for group, knapsack in zip(master.slots.groups, knapsacks, strict=True):
        found, upper_value = _best_patterns(group, knapsack, at.slot_values, thorough=thorough)
        pattern_values[group.pool] = max(pattern_values[group.pool], upper_value)
        columns.extend(PatternColumn(group.pool, pattern) for pattern in found)
    mix_values: list[float] = []
    steps = _MIX_STEPS if thorough else _QUICK_STEPS
    for i in range(len(problem.demands)):
        search = MixSearch(stock.options[i], option_prices(master, stock, at, i), weight=at.unserved_prices[i], steps=steps).run()
        mix_values.append(search.lower_value)
        columns.extend(mix_column(stock, i, mix) for _, mix in search.found)
    bound = at.fixed + sum(mix_values)
    for index, pool in enumerate(problem.pools):
        bound += pool.gpus * min(0.0, at.gpu_prices[index, 1] - pattern_values[index])
    return Priced(at, bound, mix_values, pattern_values, columns)


def knapsack_of(group: Group) -> Knapsack | None:
    """The integer program of a time-shared group; MIG layouts are few enough to be searched."""
    return None if group.layouts else Knapsack(group)


def _best_patterns(
    group: Group, knapsack: Knapsack | None, values: Sequence[float], *, thorough: bool
) -> tuple[list[tuple[int, ...]], float]:
    """Valuable patterns of a group and an upper bound on the value of all: by a short search, or else by the integer program."""
    search = PatternSearch(group, values, steps=_THOROUGH_STEPS if knapsack is None else _QUICK_STEPS).run()
    if knapsack is None or not search.exhausted:
        return search.found, search.upper_value
    best, upper_value = knapsack.best(values, 0.0 if thorough else _LAX_GAP_FRACTION)
    return [PatternSearch(group, values).filled(best), *search.found], upper_value


def option_prices(master: Master, stock: Catalogue, at: Prices, demand: int) -> list[float]:
    """What each option of a demand costs at some prices."""
    out: list[float] = []
    for index in stock.shapes[demand]:
        shape = master.problem.shapes[index]
        if takes_whole_gpus(shape):
            out.append(shape.gpus * at.gpu_prices[shape.pool, shape.gpus])
        else:
            out.append(at.slot_values[master.slots.of_shape[index]])
    return out


def mix_column(stock: Catalogue, demand: int, mix: Mix) -> MixColumn:
    """A mix in terms of shapes."""
    return MixColumn(demand, tuple((stock.shapes[demand][option], count) for option, count in mix.counts), mix.unserved_microrps)


@dataclass(frozen=True, slots=True)
class Reach:
    """Every column that a solution within a gap of the bound can use, and the demands to be covered replica by replica."""

    columns: list[Column]
    covered: frozenset[int]


def within_gap(master: Master, stock: Catalogue, priced: Priced, gap: float, limit: int) -> Reach | None:
    """The columns within gap (scaled) of the bound; None when there are more than limit.

    A solution that uses a column is at least bound + the column's value above the cheapest of its kind.
    """
    at = priced.prices
    columns: dict[Column, None] = {}
    covered: set[int] = set()
    for group in master.slots.groups:
        floor = max(at.gpu_prices[group.pool, 1], priced.pattern_values[group.pool]) - gap
        found = PatternSearch(group, at.slot_values, floor=floor, keep_all=True, steps=_STEPS_PER_COLUMN * limit).run()
        columns.update((PatternColumn(group.pool, pattern), None) for pattern in found.found)
        if found.exhausted or len(columns) > limit:
            return None
    for i in range(len(stock.options)):
        mixes = _mixes_within(master, stock, priced, i, gap)
        if mixes is not None:
            columns.update(dict.fromkeys(mixes))
        elif _coverable(stock.options[i]):
            covered.add(i)
            replicas: list[Column] = [ReplicaColumn(i, shape) for shape in stock.shapes[i]]
            columns.update(dict.fromkeys(column for column in [*replicas, LossColumn(i)] if master.allows(column)))
        else:
            return None
    return Reach([*columns, *master.node_columns()], frozenset(covered))


def _mixes_within(master: Master, stock: Catalogue, priced: Priced, demand: int, gap: float) -> list[MixColumn] | None:
    """The mixes of a demand within the gap; None when they are too many."""
    search = MixSearch(
        stock.options[demand],
        option_prices(master, stock, priced.prices, demand),
        weight=priced.prices.unserved_prices[demand],
        ceiling=priced.mix_values[demand] + gap,
        keep_all=True,
        steps=_STEPS_PER_COLUMN * _MOST_MIXES,
    ).run()
    if search.exhausted or len(search.found) > _MOST_MIXES:
        return None
    return [mix_column(stock, demand, mix) for _, mix in search.found]


def _coverable(options: Options) -> bool:
    """Whether the sum of capacity says what is unserved: no minimum beyond the first replica, no maximum in reach, no loss tolerated."""
    demand = options.demand
    return (
        not demand.tolerate_nodes
        and demand.min_replicas <= 1
        and demand.max_replicas >= sum(options.available)
        and demand.peak_microrps > 0
    )
