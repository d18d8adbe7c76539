"""The plans that were applied, kept beside the states that they left: what `history` lists and `undo` goes back to."""

from __future__ import annotations

from dataclasses import dataclass

from executor.errors import StateError
from executor.state.folder import HISTORY_LENGTH, StateFolder
from executor.state.journal import Journal
from planner.plan import DocumentError, Plan, plan_from_json, plan_hash, to_json
from profiles.regular_files import sync_folder, write_atomic


@dataclass(frozen=True, slots=True)
class AppliedPlan:
    """A plan, the serial of the state that it left, and when it was done (UTC, ISO 8601; empty where the journal does not say).

    plan is None where the file cannot be read, for example because an earlier version wrote it; fault says why.
    """

    serial: int
    at: str
    plan: Plan | None
    fault: str = ""


def keep(folder: StateFolder, plan: Plan, serial: int) -> None:
    """Keep the plan that led to the state with this serial, and the last few before it. Raises StateError when the disk refuses."""
    path = folder.plans / f"{serial:08d}.json"
    if path.exists() and not plan.actions:
        # it leaves the state as another plan made it
        return
    try:
        folder.plans.mkdir(exist_ok=True)
        write_atomic(path, to_json(plan))
        kept = sorted(folder.plans.glob("*.json"))
        # plans of later states are of a world that was removed by hand: the state counts from 1 again
        until_now = [old for old in kept if old.name <= path.name]
        for old in (*until_now[:-HISTORY_LENGTH], *(old for old in kept if old.name > path.name)):
            old.unlink(missing_ok=True)
        sync_folder(folder.plans)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}; free space and apply again") from error


def applied_plans(folder: StateFolder) -> tuple[AppliedPlan, ...]:
    """Those that are kept, oldest first. Raises JournalError for a damaged journal."""
    ended = Journal(folder.journal_path).ended()
    found = []
    for path in sorted(path for path in folder.plans.glob("*.json") if path.stem.isdecimal()):
        serial = int(path.stem)
        try:
            plan = plan_from_json(path.read_text(encoding="utf-8"), str(path))
            found.append(AppliedPlan(serial, ended.get(plan_hash(plan), ""), plan))
        except (OSError, UnicodeDecodeError, DocumentError) as error:
            found.append(AppliedPlan(serial, "", None, str(error).partition("\n")[0]))
    return tuple(found)
