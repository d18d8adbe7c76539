"""Every column that a better solution could use: the ones whose reduced cost lies within the gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solvers.exact.relaxation.pricing import Priced, mix_column, option_prices
from solvers.highs import Entries, IntegerAnswer, IntegerLimits, LinearSolver, empty
from solvers.model.columns import Column, LossColumn, MixColumn, PatternColumn, ReplicaColumn
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue, coverable
from solvers.searches.mixes import MixSearch
from solvers.searches.patterns import PatternSearch

# more mixes of one demand than this, and it is covered replica by replica
_MOST_MIXES = 500
# a search that inspects this many times more items than columns are wanted would find too many or too few of them
_STEPS_PER_COLUMN = 30


@dataclass(frozen=True, slots=True)
class Reach:
    """Every column that a solution within a gap of the bound can use, and the demands to be covered replica by replica."""

    columns: list[Column]
    covered: frozenset[int]


def within_gap(master: Master, stock: ShapeCatalogue, priced: Priced, gap: float, limit: int) -> Reach | None:
    """The columns within gap (scaled) of the bound; None when there are more than limit.

    A solution that uses a column is at least bound + the column's value above the cheapest of its kind.
    """
    at = priced.prices
    columns: dict[Column, None] = {}
    covered: set[int] = set()
    for group in master.slots.groups:
        floor = at.gpu_prices[group.pool, 1] - gap
        found = PatternSearch(group, at.slot_values.tolist(), floor=floor, keep_all=True, steps=_STEPS_PER_COLUMN * limit).run()
        columns.update((PatternColumn(group.pool, pattern), None) for pattern in found.found)
        if found.exhausted or len(columns) > limit:
            return None
    for i in range(len(stock.options)):
        mixes = None if i in master.covered else _mixes_within(master, stock, priced, i, gap)
        if mixes is not None:
            columns.update(dict.fromkeys(mixes))
        elif coverable(stock.options[i]):
            covered.add(i)
            replicas: list[Column] = [ReplicaColumn(i, shape) for shape in stock.shapes[i]]
            columns.update(dict.fromkeys(column for column in [*replicas, LossColumn(i)] if master.allows(column)))
        else:
            return None
    return Reach([*columns, *master.node_columns()], frozenset(covered))


def solve_integer(master: Master, columns: Sequence[Column], limits: IntegerLimits) -> IntegerAnswer:
    """The integer master over the given columns."""
    arrays = master.arrays(columns)
    solver = LinearSolver()
    solver.add_rows(master.row_lower, master.row_upper, empty(len(master.row_lower)))
    solver.add_columns(arrays.costs, arrays.lower, arrays.upper, Entries(arrays.starts, arrays.rows, arrays.entries))
    return solver.solve_integer([i for i, column in enumerate(columns) if not isinstance(column, LossColumn)], limits)


def _mixes_within(master: Master, stock: ShapeCatalogue, priced: Priced, demand: int, gap: float) -> list[MixColumn] | None:
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
