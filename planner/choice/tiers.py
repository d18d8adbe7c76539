"""The goals after cost as tiers of a plan's certificate, with bounds."""

from __future__ import annotations

from collections.abc import Sequence

from planner.choice.churn import churn_gib
from planner.choice.fragmentation import unusable_gpus
from planner.plan import FRAGMENTATION, TierResult
from planner.problem import MIB_PER_GIB, Placed, Problem, Solution


def churn_tier(problem: Problem, placed: Sequence[Placed], least_mib: int, *, searched: bool) -> TierResult:
    """Weights that a plan loads. least_mib are those that every plan loads which serves as much; searched: one was looked for that does."""
    return _tier("churn_gib", churn_gib(problem, placed), least_mib / MIB_PER_GIB, searched=searched)


def fragmentation_tier(problem: Problem, solution: Solution) -> TierResult:
    """Fragmentation of a plan. No better bound is known than that nothing need be unusable, and no search tries to meet that."""
    return _tier(FRAGMENTATION, unusable_gpus(problem, solution), 0.0, searched=False)


def _tier(goal: str, value: float, bound: float, *, searched: bool) -> TierResult:
    value, bound = round(value, 6), round(min(bound, value), 6)
    gap_fraction = (value - bound) / value if value > 0 else 0.0
    return TierResult(goal=goal, value=value, bound=bound, gap_fraction=gap_fraction, optimised=searched)
