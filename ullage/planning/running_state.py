"""What runs when a plan is made: what a state folder says, or what another plan would have left."""

from __future__ import annotations

from pathlib import Path

from planner.plan import Plan, State, as_applied
from ullage.inputs import read_plan, read_state, state_folder


def running_state(fleet_file: Path, state: State | str | Path | None = None, prior: Plan | str | Path | None = None) -> State:
    """The state itself, that of a folder (default: .ullage beside the fleet file), or that after a plan; ValueError when both are given."""
    if prior is not None and state is not None:
        raise ValueError("prior and state contradict each other: both say what runs now; give one of them")
    if prior is not None:
        return as_applied(prior if isinstance(prior, Plan) else read_plan(Path(prior)))
    if isinstance(state, State):
        return state
    return read_state(state_folder(fleet_file, None if state is None else Path(state)))
