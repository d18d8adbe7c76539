"""Column generation: the linear relaxation of a master, with a bound that is valid at every moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from solvers.highs import LinearProgram
from solvers.master import Column, Master
from solvers.pricing import Catalogue, Priced, price, prices

# items a search may inspect: while columns are easy to find a short search does, at the end the bound wants a long one
_QUICK_STEPS = 3_000
_THOROUGH_STEPS = 200_000


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
    best: Priced | None = None
    steps = _QUICK_STEPS
    for _ in range(rounds):
        answer = program.solve()
        if answer is None:
            break
        priced = price(master, stock, prices(master, answer.duals), answer.duals, steps)
        if best is None or priced.bound > best.bound:
            best = priced
        if enough(best.bound):
            break
        fresh = [column for column in dict.fromkeys(priced.columns) if column not in columns]
        if fresh:
            columns.update(dict.fromkeys(fresh))
            program.add(fresh)
        elif steps == _QUICK_STEPS:
            steps = _THOROUGH_STEPS
        else:
            break
    return Relaxation(list(columns), best)
