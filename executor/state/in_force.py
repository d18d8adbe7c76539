"""The plan that is kept as the steps of its playbook that are in force have changed it."""

from __future__ import annotations

from executor.state.folder import StateFolder
from executor.state.refused import refused_now, set_refused
from planner.plan import Plan, desired_hash
from planner.playbook.burst_moves import NO_MOVES, BurstMoves, moved
from planner.playbook.refusals import Refusals


def moves_in_force(refused: Refusals, goal: Plan) -> BurstMoves:
    """Who sleeps, is stopped and is awake otherwise than a goal says; nobody where the steps were those of another plan."""
    own = refused.moves.names and refused.desired_sha256 == desired_hash(goal.desired)
    return refused.moves if own else NO_MOVES


def in_force(goal: Plan, refused: Refusals) -> Plan:
    """The goal with these moves."""
    moves = moves_in_force(refused, goal)
    return goal.model_copy(update={"desired": moved(goal.desired, moves)}) if moves.names else goal


def kept_now(folder: StateFolder, goal: Plan, *, forget: bool = True) -> Plan:
    """The goal as the steps in force have it; those of another plan are forgotten, unless this is only a look."""
    refused = refused_now(folder)
    if forget and refused.moves.names and moves_in_force(refused, goal) == NO_MOVES:
        forget_moves(folder)
    return in_force(goal, refused)


def forget_moves(folder: StateFolder) -> None:
    """Another plan is applied, which says itself who sleeps and stops; who is refused stays so."""
    refused = refused_now(folder)
    if refused.moves.names:
        set_refused(folder, refused.model_copy(update={"moves": NO_MOVES, "desired_sha256": ""}))
