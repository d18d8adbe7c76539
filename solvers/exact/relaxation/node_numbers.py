"""Whole numbers of nodes of the pools that are billed by node, as bounds of their columns in the covering program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice, product

from solvers.exact.relaxation.cover_program import CoverProgram
from solvers.highs import LinearAnswer
from solvers.model.columns import Column, NodeColumn

# choices of whole numbers of nodes that are looked at
_MOST_WAYS = 32


class NodeNumbers:
    """The columns of nodes of a program, per pool."""

    def __init__(self, program: CoverProgram) -> None:
        """All columns of nodes are there from the beginning."""
        self._program = program
        self._pools = program.master.problem.pools

    def columns(self) -> dict[int, int]:
        """Per pool where its column is in the solver."""
        columns = self._program.columns
        return {pool: at for pool, k in nodes_of(columns).items() if (at := self._program.place(columns[k])) is not None}

    def fix(self, way: Mapping[int, int]) -> None:
        """These numbers from now on."""
        where = self.columns()
        self._program.solver.bound_columns([where[pool] for pool in way], list(way.values()), list(way.values()))

    def free(self) -> None:
        """As many nodes as the pools have from now on."""
        for pool, at in self.columns().items():
            self._program.solver.bound_columns([at], [self.least(pool)], [self._pools[pool].nodes])

    def least(self, pool: int) -> int:
        """The fewest nodes of a pool."""
        return min(self._pools[pool].min_nodes, self._pools[pool].nodes)

    def of(self, answer: LinearAnswer) -> dict[int, float]:
        """Per pool the number in an answer."""
        return {pool: float(answer.columns[at]) for pool, at in self.columns().items()}

    def around(self, answer: LinearAnswer) -> dict[int, list[int]]:
        """Per pool the whole numbers next to that of an answer."""
        out: dict[int, list[int]] = {}
        for pool, value in self.of(answer).items():
            near = (math.floor(value + 1e-6), math.ceil(value - 1e-6))
            out[pool] = sorted({min(self._pools[pool].nodes, max(self.least(pool), number)) for number in near})
        return out

    def ways(self, answer: LinearAnswer) -> list[dict[int, int]]:
        """Choices of whole numbers per pool around those of an answer, the nearest first."""
        around, relaxed = self.around(answer), self.of(answer)
        ways = [dict(zip(around, numbers, strict=True)) for numbers in islice(product(*around.values()), _MOST_WAYS)]
        return sorted(ways, key=lambda way: sum(abs(number - relaxed[pool]) for pool, number in way.items()))


def nodes_of(columns: Sequence[Column]) -> dict[int, int]:
    """Where the columns of nodes are, per pool."""
    return {column.pool: at for at, column in enumerate(columns) if isinstance(column, NodeColumn)}
