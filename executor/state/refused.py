"""Whom the router refuses while a workload has a burst, and who sleeps and wakes for it: a file of its own beside state and goal.

The router looks at it whenever it is switched or looked at, reconcile whenever it reads its goal. Apply forgets the moves of replicas.
"""

from __future__ import annotations

from pydantic import ValidationError

from executor.errors import StateError
from executor.state.folder import StateFolder
from planner.playbook.burst_moves import BurstMoves
from planner.playbook.refusals import Refusals
from profiles.regular_files import write_atomic


def refused_now(folder: StateFolder) -> Refusals:
    """Nobody where nothing says otherwise. Raises StateError for a file that cannot be read."""
    try:
        return Refusals.model_validate_json(folder.refused_path.read_bytes())
    except FileNotFoundError:
        return Refusals()
    except (OSError, ValidationError) as error:
        raise StateError(f"{folder.refused_path}: cannot be read: {error}; remove it to refuse nobody") from error


def set_refused(folder: StateFolder, refused: Refusals) -> None:
    """Keep it; with nothing in force there is no file. Raises StateError when the disk refuses."""
    try:
        if refused.workloads or refused.moves.names:
            write_atomic(folder.refused_path, refused.model_dump_json(indent=2) + "\n")
        else:
            folder.refused_path.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"{folder.refused_path}: cannot be written: {error.strerror or error}; free space and try again") from error


def move_words(moves: BurstMoves) -> tuple[str, ...]:
    """Who sleeps, is stopped and is awake otherwise than planned, for people."""
    named = (("sleeps", tuple(item.name for item in moves.asleep)), ("stopped", moves.stopped), ("awake", moves.woken))
    return tuple(f"{what}: {', '.join(sorted(names))}" for what, names in named if names)
