"""Goals after unserved demand: tiers in order, each one goal or a weighted sum of goals, as written in policy.goals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Goal = Literal["cost", "churn", "fragmentation"]
GOALS: tuple[Goal, ...] = get_args(Goal)

_TERM = r"(?:[0-9]+(?:\.[0-9]+)? )?(?:cost|churn|fragmentation)"
# One goal, or a sum such as "cost + 0.01 churn".
TIER_PATTERN = rf"^{_TERM}(?: \+ {_TERM})*$"


class GoalTerm(BaseModel):
    """One goal of a tier and its weight, per USD/h of cost, GiB of weights to load (churn) or GPU that is unusable (fragmentation)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: Goal
    weight: float = 1.0


GoalTier = tuple[GoalTerm, ...]


def goal_tiers(written: Sequence[str]) -> tuple[GoalTier, ...]:
    """The tiers that are written, then those goals that are not, in their usual order. Raises ValueError for a goal named twice.

    >>> [[term.goal for term in tier] for tier in goal_tiers(["churn"])]
    [['churn'], ['cost'], ['fragmentation']]
    """
    tiers = tuple(tuple(_term(text) for text in tier.split(" + ")) for tier in written)
    named = [term.goal for tier in tiers for term in tier]
    for goal in GOALS:
        if named.count(goal) > 1:
            raise ValueError(f"{goal} stands {named.count(goal)} times; once is allowed")
    return (*tiers, *((GoalTerm(goal=goal),) for goal in GOALS if goal not in named))


def _term(text: str) -> GoalTerm:
    weight, _, name = text.rpartition(" ")
    match = re.fullmatch("|".join(GOALS), name)
    if match is None:
        raise ValueError(f"{text!r} is not a goal; write {', '.join(GOALS)}, or a sum such as 'cost + 0.01 churn'")
    return GoalTerm(goal=GOALS[GOALS.index(name)], weight=float(weight or 1.0))
