"""The columns of a master problem: what GPUs sell and what demands buy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PatternColumn:
    """One GPU of a pool sold as slots of these classes (ascending, repeats allowed)."""

    pool: int
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GpuColumn:
    """One shared GPU of a pool with replicas of these shapes (ascending)."""

    pool: int
    shapes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MixColumn:
    """One way to serve a demand: shapes with counts."""

    demand: int
    shapes: tuple[tuple[int, int], ...]
    unserved_microrps: int


@dataclass(frozen=True, slots=True)
class NodeColumn:
    """Nodes of a pool that is billed by node."""

    pool: int


@dataclass(frozen=True, slots=True)
class ReplicaColumn:
    """One replica on whole GPUs or in a MIG instance; in the master for a demand that is covered replica by replica."""

    demand: int
    shape: int


@dataclass(frozen=True, slots=True)
class LossColumn:
    """The fraction of such a demand that stays unserved."""

    demand: int


Column = PatternColumn | GpuColumn | MixColumn | NodeColumn | ReplicaColumn | LossColumn


def bought(column: Column) -> tuple[tuple[int, int], ...]:
    """Shapes with counts that one unit of a column buys."""
    if isinstance(column, MixColumn):
        return column.shapes
    return ((column.shape, 1),) if isinstance(column, ReplicaColumn) else ()
