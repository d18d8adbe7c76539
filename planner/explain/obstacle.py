"""One constraint that keeps replicas off GPUs, and what is said of GPUs that are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.problem import Solution
from planner.sizing.blueprint import Blueprint

# What to change where replicas must be on different machines; adding nodes is what others say too.
SPREAD_LEVER = "write spread: any"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One constraint that is used up on some GPUs, in words, and what to change; no lever where only more GPUs help.

    kind is what it has in common with others whose numbers or names differ.
    """

    kind: str
    text: str
    lever: str = ""


def left_unused(blueprint: Blueprint, own: Sequence[int], solution: Solution) -> Obstacle:
    """Why free GPUs hold no replica of a model; own are its shapes there."""
    if not own:
        return Obstacle("free", "no replica of it is possible (`ullage explain` shows why)")
    if blueprint.problem.demands[blueprint.problem.shapes[own[0]].demand].spread_nodes:
        return Obstacle(
            "free", "nothing runs there, beside a replica of it on the machine (spread: nodes) or unused by the search", SPREAD_LEVER
        )
    smallest = min(blueprint.problem.shapes[item].gpus for item in own)
    if smallest > 1:
        return Obstacle(
            "free",
            f"nothing runs there, but a replica takes an aligned block of {smallest} GPUs of one node",
            "allow a smaller tensor_parallel",
        )
    if solution.status != "optimal":
        return Obstacle(
            "free", "nothing runs there: the search ended before it found a use for these GPUs", "plan with a longer --time-limit"
        )
    return Obstacle("free", "nothing runs there, and one more replica would not reduce the unserved demand")
