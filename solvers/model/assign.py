"""From counts of anonymous patterns and mixes to patterns of real shapes.

Mixes say how many replicas of each shape run, patterns how many slots of each class there are. Any filling of slots by
replicas of their class is legal: tagged classes hold one demand only, and an anonymous demand has one replica at most (or
sits on MIG, where repeats are allowed). Slots nobody needs stay empty, which keeps a legal pattern legal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from planner.problem import Pattern
from solvers.model.columns import Column, PatternColumn, bought
from solvers.model.master import Master
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.solution import merged


def assign(master: Master, columns: Sequence[Column], counts: Sequence[int]) -> tuple[Pattern, ...]:
    """Real patterns of an integer solution of the master."""
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    patterns: list[Pattern] = []
    for column, count in zip(columns, counts, strict=True):
        for index, replicas in bought(column) if count > 0 else ():
            shape = master.problem.shapes[index]
            if takes_whole_gpus(shape):
                patterns.append(Pattern(shape.pool, (index,), replicas * count))
            else:
                waiting[master.slots.of_shape[index]].extend([index] * replicas * count)
    for queue in waiting.values():
        queue.sort(reverse=True)
    for column, count in sorted(_sold(columns, counts), key=lambda sold: (-len(sold[0].classes), sold[0].pool, sold[0].classes)):
        for _ in range(count):
            residents = [waiting[slot].pop() for slot in column.classes if waiting[slot]]
            patterns.append(Pattern(column.pool, tuple(sorted(residents))))
    return merged(patterns)


def _sold(columns: Sequence[Column], counts: Sequence[int]) -> list[tuple[PatternColumn, int]]:
    pairs = zip(columns, counts, strict=True)
    return [(column, count) for column, count in pairs if isinstance(column, PatternColumn) and count > 0]
