"""Column generation: the linear relaxation of a master, with a bound that is valid at every moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from solvers.columns import Column
from solvers.highs import LinearProgram
from solvers.master import Master
from solvers.pricing import Catalogue, Priced, knapsack_of, price, prices

# columns that improve by less than this (scaled, the cost of a GPU is up to 1e4) are numerical noise
_NOISE = 1e-6
# the last rounds of column generation cost as many as all before and move the bound by less than this
_TAIL_FRACTION = 5e-4


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Columns generated, and the pricing round with the best bound."""

    columns: list[Column]
    best: Priced | None


def relax(
    master: Master,
    stock: Catalogue,
    seeds: Sequence[Column],
    *,
    rounds: int,
    enough: Callable[[float], bool],
) -> Relaxation:
    """Generate columns until none improves, the bound is enough, or the rounds are used up.

    The seeds must admit a solution of the master.
    """
    columns: dict[Column, None] = dict.fromkeys(column for column in [*master.node_columns(), *seeds] if master.allows(column))
    program = LinearProgram(master)
    program.add(list(columns))
    knapsacks = [knapsack_of(group) for group in master.slots.groups]
    best: Priced | None = None
    centre: Sequence[float] | None = None
    thorough = False
    for _ in range(rounds):
        answer = program.solve()
        if answer is None:
            break
        duals = answer.duals if centre is None or thorough else _between(centre, answer.duals)
        priced = price(master, stock, knapsacks, prices(master, duals), thorough=thorough)
        if best is None or priced.bound > best.bound:
            best, centre = priced, duals
        if enough(best.bound) or _settled(master, answer.value, best.bound):
            break
        fresh = [column for column in dict.fromkeys(priced.columns) if column not in columns and _improves(master, column, answer.duals)]
        if not fresh and thorough:
            break
        thorough = not fresh
        columns.update(dict.fromkeys(fresh))
        program.add(fresh)
    return Relaxation(list(columns), best)


def _settled(master: Master, value: float, bound: float) -> bool:
    """Whether more columns could not raise the bound by anything that matters: the value of the program is its limit."""
    return master.exact_bound(bound) >= master.exact_bound(value) or value - bound <= _TAIL_FRACTION * abs(value)


def _between(centre: Sequence[float], duals: Sequence[float]) -> list[float]:
    """Duals pulled halfway towards those of the best bound, which keeps them from swinging (Wentges' smoothing)."""
    return [0.5 * (calm + wild) for calm, wild in zip(centre, duals, strict=True)]


def _improves(master: Master, column: Column, duals: Sequence[float]) -> bool:
    reduced_cost = master.cost(column) - sum(duals[row] * entry for row, entry in master.entries(column).items())
    return reduced_cost < -_NOISE
