"""Answers that every engine asks of one Problem: found once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from planner.problem import Demand, Pool, Problem, Shape

_Answer = TypeVar("_Answer")
_Parts = tuple[tuple[Pool, ...], tuple[Demand, ...], tuple[Shape, ...]]

# The engines of a portfolio ask of one Problem, one of them also of a variant of it; more would only keep old Problems alive.
_KEPT = 2


def per_problem(find: Callable[[Problem], _Answer]) -> Callable[[Problem], _Answer]:
    """A function of pools, demands and shapes that remembers its answers to the last Problems it was asked about.

    A Problem is known by the very tuples that it holds: to compare, or to hash, a hundred thousand shapes takes longer than it saves.
    """
    kept: deque[tuple[_Parts, _Answer]] = deque(maxlen=_KEPT)

    @wraps(find)
    def remembered(problem: Problem) -> _Answer:
        pools, demands, shapes = problem.pools, problem.demands, problem.shapes
        for known, found in tuple(kept):
            if known[0] is pools and known[1] is demands and known[2] is shapes:
                return found
        fresh = find(problem)
        kept.append(((pools, demands, shapes), fresh))
        return fresh

    return remembered
