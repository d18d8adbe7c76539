"""A schedule as a folder: schedule.json, and the plan of each phase beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from planner.demand.windows import CLOCK
from planner.disruption_budget import second_of_week_s
from planner.plan import Plan, State, desired_hash, to_json
from planner.schedule.sleeping import without_absent
from planner.schedule.timetable import SCHEDULE_FILE, Schedule, SchedulePhase
from ullage.checking import FindArchitecture, checked
from ullage.inputs import read_bytes, read_plan, write_text

_HINT = "`ullage schedule fleet.yaml -o DIR` makes one"


def write_schedule(folder: Path, schedule: Schedule, plans: Mapping[str, Plan]) -> None:
    """The folder with this schedule: first the plans, then what names them; plans of phases that are no more are removed."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made: {error.strerror or error}") from error
    for name, plan in plans.items():
        write_text(folder / name, to_json(plan))
    old = {phase.plan for phase in read_schedule(folder).phases} if (folder / SCHEDULE_FILE).exists() else set()
    write_text(folder / SCHEDULE_FILE, to_json(schedule))
    for name in sorted(old - plans.keys()):
        (folder / name).unlink(missing_ok=True)


def read_schedule(folder: Path) -> Schedule:
    """The schedule of a folder; ValueError names the file, the field and what to do."""
    path = folder / SCHEDULE_FILE
    raw = read_bytes(path, _HINT)
    try:
        schedule = Schedule.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path}: {where}: {first['msg']}; {_HINT}") from error
    for phase in schedule.phases:
        if Path(phase.plan).name != phase.plan:
            raise ValueError(f"{path}: {phase.name}: its plan {phase.plan!r} must be a file in the same folder")
    return schedule


def phase_plans(folder: Path, schedule: Schedule) -> tuple[Plan, ...]:
    """The plan of each phase; ValueError for one that is not the one that the schedule was made with."""
    return tuple(_plan_of(folder, phase) for phase in schedule.phases)


def _plan_of(folder: Path, phase: SchedulePhase) -> Plan:
    plan = read_plan(folder / phase.plan)
    if desired_hash(plan.desired) != phase.desired_sha256:
        raise ValueError(f"{folder / phase.plan}: is not the plan that {SCHEDULE_FILE} was made with; make the schedule again")
    return plan


def plan_at(folder: Path, moment: datetime, state: State, architecture: FindArchitecture) -> Plan:
    """The plan to keep at a moment: that of its phase, judged by the checker, without sleepers that do not run in the state.

    Its actions are none: whoever keeps it works out the way from what runs. ValueError for what cannot be followed.
    """
    schedule = read_schedule(folder)
    if schedule.timeline != CLOCK:
        raise ValueError(
            f"{folder / SCHEDULE_FILE}: is on the time of the trace {schedule.timeline}, which no clock shows; declare windows by hours, "
            "or a forecast, and make the schedule again"
        )
    phase = schedule.at(second_of_week_s(moment))
    plan = _plan_of(folder, phase)
    checked(plan, str(folder / phase.plan), architecture=architecture)
    desired = without_absent(plan.desired, state)
    return plan.model_copy(update={"desired": desired, "actions": (), "outages": (), "churn": None})
