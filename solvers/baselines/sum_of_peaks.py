"""Sum of peaks: the quick engine's answer when every replica is taken to be at its peak in all windows.

This is what planning costs that adds up peaks whether or not they come together. Its answer is legal in the windows too, and no bound.
"""

from __future__ import annotations

from dataclasses import replace

from planner.problem import Problem, Solution, Watch
from solvers.exact import lexicographic as exact
from solvers.solution import answer

NAME = "sum-of-peaks"

# A baseline gets so much of the time that the engine gets whose answer it is compared with.
_TIME_FRACTION = 0.25


def solve(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    """Answer a problem as if it had one window, at most in a quarter of the time."""
    shapes = tuple(replace(shape, active_permille=(max(shape.active_permille),)) for shape in problem.shapes)
    limit_s = None if time_limit_s is None else time_limit_s * _TIME_FRACTION
    return answer(problem, NAME, exact.quick(replace(problem, shapes=shapes), time_limit_s=limit_s, watch=watch).patterns)
