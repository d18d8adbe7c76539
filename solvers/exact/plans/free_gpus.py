"""What each pool leaves free, as whole numbers of an integer program, with all that is known about numbers of GPUs and nodes.

Cost follows from these numbers alone, so branching on them decides most of it, and cuts on them (solvers.exact.relaxation.counts) bound it
before a single pattern is chosen. Patterns alone would have to tell the same again and again: many sets of them use the same GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.relaxation.node_numbers import nodes_of
from solvers.highs import Entries, LinearSolver
from solvers.model.columns import Column, GpuColumn, NodeColumn, PatternColumn, ReplicaColumn


def add_free_gpus(root: CoverRoot, integer: LinearSolver) -> list[int]:
    """Columns of the GPUs that pools leave free, and the cuts on them, in a copy of the root's program; returns the columns.

    For a stage of which cost is the goal.
    """
    pools, first = range(len(root.problem.pools)), integer.columns
    where = nodes_of(root.program.columns)
    entries, most = Entries(), list[float]()
    for pool in pools:
        row = root.program.capacity_row(pool, 1)
        room = 0.0 if pool in where else _room(root, pool)
        integer.bound_row(row, room, room)
        entries.add({row: 1.0})
        most.append(_room(root, pool))
    integer.add_columns([0.0] * len(most), [0.0] * len(most), most, entries)
    _add_cuts(root, integer, first)
    return [first + pool for pool in pools]


def _add_cuts(root: CoverRoot, integer: LinearSolver, first: int) -> None:
    """The cuts on numbers of GPUs and nodes, in nodes and free GPUs."""
    where, count = nodes_of(root.program.columns), len(root.problem.pools)
    entries, least = Entries(), list[float]()
    for wanted, values in root.counts.cuts():
        line: dict[int, float] = {}
        given = 0.0
        for pool in range(count):
            gpu_value, node_value = values[pool], values[count + pool]
            line[first + pool] = -gpu_value
            if pool in where:
                line[root.program.at(where[pool])] = gpu_value * root.master.row_room(pool, 1) + node_value
            else:
                given += gpu_value * _room(root, pool) + node_value * root.problem.pools[pool].nodes
        entries.add(line)
        least.append(wanted - given)
    integer.add_rows(least, [math.inf] * len(least), entries)


def free_gpus(root: CoverRoot, counts: Mapping[Column, int]) -> list[float]:
    """How many GPUs each pool leaves free with these columns."""
    where = nodes_of(root.program.columns)
    free = [0.0 if pool in where else _room(root, pool) for pool in range(len(root.problem.pools))]
    for column, count in counts.items():
        if isinstance(column, NodeColumn):
            free[column.pool] += root.master.row_room(column.pool, 1) * count
        elif isinstance(column, GpuColumn | PatternColumn):
            free[column.pool] -= count
        elif isinstance(column, ReplicaColumn) and column.shape not in root.master.slots.of_shape:
            shape = root.problem.shapes[column.shape]
            free[shape.pool] -= shape.gpus * count
    return free


def _room(root: CoverRoot, pool: int) -> float:
    return float(root.master.row_room(pool, 1) * root.problem.pools[pool].nodes)
