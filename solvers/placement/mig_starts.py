"""Start slots of the MIG instances on one GPU: a legal layout for all of them, moving as few running ones as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from planner.problem import Problem, Shape


def start_slots(problem: Problem, residents: Sequence[int], running: Mapping[int, Sequence[int]]) -> list[int]:
    """A start slot per resident (all of one pool); running holds the start slots each shape has on this GPU now.

    Of the layouts that offer every profile, the one that keeps most instances in place wins, ties go to the first.
    Raises ValueError when no layout does, which the checker of solutions rules out.
    """
    shapes = [problem.shapes[index] for index in residents]
    best: tuple[int, list[int]] | None = None
    for layout in problem.pools[shapes[0].pool].mig_layouts:
        free: defaultdict[str, set[int]] = defaultdict(set)
        for slot in layout:
            free[slot.profile].add(slot.start)
        chosen = _in_layout(residents, shapes, free, running)
        if chosen is not None and (best is None or chosen[0] > best[0]):
            best = chosen
    if best is None:
        raise ValueError(f"no MIG layout of pool {problem.pools[shapes[0].pool].name} holds {[shape.mig_profile for shape in shapes]}")
    return best[1]


def _in_layout(
    residents: Sequence[int], shapes: Sequence[Shape], free: dict[str, set[int]], running: Mapping[int, Sequence[int]]
) -> tuple[int, list[int]] | None:
    """How many instances keep their start slot in this layout, and the slots; None when it lacks a profile."""
    waiting = {index: sorted(starts, reverse=True) for index, starts in running.items()}
    starts: list[int | None] = []
    for index, shape in zip(residents, shapes, strict=True):
        room = free[shape.mig_profile or ""]
        while waiting.get(index) and waiting[index][-1] not in room:
            waiting[index].pop()
        kept = waiting[index].pop() if waiting.get(index) else None
        if kept is not None:
            room.discard(kept)
        starts.append(kept)
    moved = 0
    for at, shape in enumerate(shapes):
        if starts[at] is None:
            room = free[shape.mig_profile or ""]
            if not room:
                return None
            starts[at] = min(room)
            room.discard(min(room))
            moved += 1
    return len(shapes) - moved, [start for start in starts if start is not None]
