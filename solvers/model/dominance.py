"""Which of many shapes dominate which, pair by pair of one demand and pool, in arrays.

A shape that takes whole GPUs asks nothing of others, so all that counts is what it serves, on how many GPUs. What sits beside others must
ask for no more of anything in the same place: the same mode, MIG profile and colocation class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.problem import Shape

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# pairs of shapes that are compared at once: a few dozen MiB
_MOST_PAIRS = 400_000


def first_dominators(shapes: Sequence[Shape], whole: Sequence[bool]) -> list[int]:
    """For each shape the place in the list of the undominated one that stands for it: its first dominator's, and so on.

    whole tells which of them take whole GPUs. Of shapes that are equal in all that counts the first stands for all.
    """
    above = np.arange(len(shapes), dtype=np.int64)
    if not len(shapes):
        return []
    table = _Table(shapes, whole)
    for places in _batches(shapes):
        _fill(table, places, above)
    while not np.array_equal(above, above[above]):
        above = above[above]
    return [int(index) for index in above]


def _batches(shapes: Sequence[Shape]) -> list[list[Ints]]:
    """Places of the shapes of each demand and pool, in lists that are compared together."""
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for at, shape in enumerate(shapes):
        groups[shape.demand, shape.pool].append(at)
    found: list[list[Ints]] = [[]]
    pairs = 0
    for members in groups.values():
        if pairs and pairs + len(members) ** 2 > _MOST_PAIRS:
            found.append([])
            pairs = 0
        found[-1].append(np.array(members, dtype=np.int64))
        pairs += len(members) ** 2
    return found


def _fill(table: _Table, groups: Sequence[Ints], above: Ints) -> None:
    """Write the first dominator of each shape of some groups into above."""
    rivals = np.concatenate([np.tile(group, len(group)) for group in groups])
    ours = np.concatenate([np.repeat(group, len(group)) for group in groups])
    beats = table.dominates(rivals, ours) & (rivals != ours)
    # two shapes that dominate each other are equal in all that counts: the first stands for both
    taken = np.flatnonzero(beats)
    taken = taken[(rivals[taken] < ours[taken]) | ~table.dominates(ours[taken], rivals[taken])]
    beaten, first = np.unique(ours[taken], return_index=True)
    above[beaten] = rivals[taken][first]


class _Table:
    """What counts about shapes, one row each."""

    def __init__(self, shapes: Sequence[Shape], whole: Sequence[bool]) -> None:
        self._whole: Bools = np.array(whole, dtype=np.bool_)
        self._mig: Bools = np.array([shape.mode == "mig" for shape in shapes], dtype=np.bool_)
        places: dict[tuple[object, ...], int] = {}
        rows = [(shape.mode, shape.mig_profile, shape.colocation_class) for shape in shapes]
        self._place: Ints = np.array([places.setdefault(row, len(places)) for row in rows], dtype=np.int64)
        # in each of these a rival must have no more: first what counts for all, then on the host, then on a GPU that is not sliced
        self._all: Ints = np.array([(-shape.capacity_microrps, shape.gpus) for shape in shapes], dtype=np.int64)
        self._host: Ints = np.array([(shape.host_cores, shape.host_memory_mib) for shape in shapes], dtype=np.int64)
        self._shared: Ints = np.array([_shared(shape) for shape in shapes], dtype=np.int64)
        self._set_activity(shapes)

    def _set_activity(self, shapes: Sequence[Shape]) -> None:
        windows = max(len(shape.active_permille) for shape in shapes)
        padded = [(*shape.active_permille, *(max(shape.active_permille),) * (windows - len(shape.active_permille))) for shape in shapes]
        self._active: Ints = np.array(padded, dtype=np.int64)
        self._windows: Ints = np.array([len(shape.active_permille) for shape in shapes], dtype=np.int64)
        self._quietest: Ints = np.array([min(shape.active_permille) for shape in shapes], dtype=np.int64)

    def dominates(self, rivals: Ints, ours: Ints) -> Bools:
        """Whether each rival dominates its opposite of the same demand and pool."""
        found: Bools = _no_more(self._all, rivals, ours)
        at = np.flatnonzero(found)
        rivals, ours = rivals[at], ours[at]
        beside = _no_more(self._host, rivals, ours)
        beside &= self._place[rivals] == self._place[ours]
        left = np.flatnonzero(beside & ~self._mig[ours] & ~self._whole[ours])
        beside[left] = _no_more(self._shared, rivals[left], ours[left]) & self._never_more_active(rivals[left], ours[left])
        beside[self._whole[ours]] = ~self._mig[rivals[self._whole[ours]]]
        found[at] = beside
        return found

    def _never_more_active(self, rivals: Ints, ours: Ints) -> Bools:
        """Whether a rival counts for no more in any window; one number counts for all windows."""
        found: Bools = _no_more(self._active, rivals, ours)
        lengths, own = self._windows[rivals], self._windows[ours]
        # which windows are which is not known: the busiest against the quietest
        unlike = (lengths != own) & (lengths > 1) & (own > 1)
        found[unlike] = self._active[rivals[unlike]].max(axis=1) <= self._quietest[ours[unlike]]
        return found


def _shared(shape: Shape) -> tuple[int, ...]:
    asked = (shape.memory_mib, shape.start_extra_mib, shape.compute_permille, shape.bandwidth_permille)
    return (*asked, -shape.max_residents, -shape.active_limit_permille)


def _no_more(columns: Ints, rivals: Ints, ours: Ints) -> Bools:
    found: Bools = np.all(columns[rivals] <= columns[ours], axis=1)
    return found
