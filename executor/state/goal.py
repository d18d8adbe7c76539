"""The plan that is to be kept: the last one that an apply or a reconcile began, whether it came to its end or not."""

from __future__ import annotations

from executor.errors import StateError
from executor.state.applied_plans import applied_plans
from executor.state.folder import StateFolder
from planner.plan import DocumentError, Plan, plan_from_json, to_json
from profiles.regular_files import write_atomic


def set_goal(folder: StateFolder, plan: Plan) -> None:
    """Note what is to be kept from now on. Raises StateError when the disk refuses."""
    text = to_json(plan)
    try:
        if not folder.goal_path.exists() or folder.goal_path.read_bytes() != text.encode():
            write_atomic(folder.goal_path, text)
    except OSError as error:
        raise StateError(f"{folder.goal_path}: cannot be written: {error.strerror or error}; free space and try again") from error


def goal_of(folder: StateFolder) -> Plan | None:
    """What is to be kept; None when nothing was applied, or everything was destroyed.

    Folders of earlier versions do not say it: there it is the last plan that was applied to its end. Raises StateError when the
    plan cannot be read.
    """
    try:
        text = folder.goal_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _last_applied(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{folder.goal_path}: cannot be read: {error}; apply a plan, or give `ullage reconcile` one") from error
    try:
        return plan_from_json(text, str(folder.goal_path))
    except DocumentError as error:
        raise StateError(f"{error}\napply a plan, or give `ullage reconcile` one") from error


def _last_applied(folder: StateFolder) -> Plan | None:
    serial = folder.load().serial
    found = [item.plan for item in applied_plans(folder) if item.serial == serial]
    return found[0] if found else None
