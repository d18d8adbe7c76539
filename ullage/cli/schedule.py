"""schedule: plans that follow each other in time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli import completion
from ullage.cli.duration_option import seconds_of

OUT_HELP = "Folder for schedule.json and the plan of each phase. What an earlier schedule there has placed stays where it can."
SHORTEST_HELP = "No phase is shorter than that."
STATE_HELP = "State folder; default .ullage beside the fleet file."
VERIFY_HELP = "Simulate the plan of each phase, as `ullage plan` does."


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(schedule)


def schedule(
    fleet: Annotated[Path, typer.Argument(help="The fleet file.")] = Path("fleet.yaml"),
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help=OUT_HELP)] = None,
    shortest: Annotated[str, typer.Option("--shortest", help=SHORTEST_HELP)] = "15min",
    state: Annotated[Path | None, typer.Option("--state", help=STATE_HELP)] = None,
    solver: Annotated[
        str, typer.Option("--solver", autocompletion=completion.solvers, help="Solver for the plan of each phase.")
    ] = "exact",
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", min=0.0, help="Stop the solver after so many seconds in each phase.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help=VERIFY_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedule as one JSON object instead of text.")] = False,
) -> None:
    """Decide at which times which plan holds, what sleeps meanwhile, and how one leads to the next.

    Example: ullage schedule fleet.yaml -o schedule/
    """
    from planner.schedule.timetable import SCHEDULE_FILE
    from ullage.inputs import read_fleet
    from ullage.planning.running_state import running_state
    from ullage.planning.scheduling import ScheduleOptions, plan_schedule
    from ullage.schedule_folder import phase_plans, read_schedule, write_schedule
    from ullage.views.schedule_text import schedule_text

    options = ScheduleOptions(solver=solver, time_limit_s=time_limit, verify=verify, shortest_s=seconds_of("--shortest", shortest))
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    earlier = phase_plans(out, read_schedule(out)) if out is not None and (out / SCHEDULE_FILE).exists() else ()
    made = plan_schedule(read_fleet(fleet), running_state(fleet, state, None), options, earlier)
    if out is not None:
        write_schedule(out, made.schedule, made.plans)
    typer.echo(made.schedule.model_dump_json() if as_json else schedule_text(made.schedule), nl=as_json)
    if out is not None and not as_json:
        typer.echo(f"\nwrote {out}; next: ullage reconcile {out} --watch")
