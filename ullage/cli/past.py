"""history, undo: the plans that were applied, and the way back to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from executor.state.applied_plans import AppliedPlan

STATE_OPTION = typer.Option("--state", help="State folder.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command()(history)
    app.command()(undo)


def history(state: Annotated[Path, STATE_OPTION] = Path(".ullage")) -> None:
    """List the plans that were applied from this state folder, oldest first; the last 20 are kept.

    Example: ullage history --state .ullage
    """
    from ullage.inputs import read_state
    from ullage.views.history_text import history_text

    now = read_state(state)
    typer.echo(history_text(_applied(state), now.serial), nl=False)


def undo(
    serial: Annotated[
        int | None, typer.Argument(help="Serial of the state to go back to, as `history` lists it; default: the one before.")
    ] = None,
    state: Annotated[Path, STATE_OPTION] = Path(".ullage"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan to this file.")] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
) -> None:
    """Plan the way back to what an earlier plan wanted, checked as every plan; nothing runs differently before it is applied.

    Example: ullage undo 3 -o plan.json
    """
    from planner.plan import to_json
    from planner.transitions.change import change
    from ullage import local_files
    from ullage.checking import architectures_from, checked
    from ullage.inputs import read_state, write_text
    from ullage.views.plan.plan_text import action_lines, headline, outage_lines

    now = read_state(state)
    past = _chosen(_applied(state), serial, now.serial, state)
    if past.plan is None:
        raise ValueError(f"the plan of state {past.serial} cannot be read: {past.fault}; make a new one with `ullage plan`")
    back = change(now, past.plan.desired)
    checked(back, f"the plan of state {past.serial}", now, architectures_from(local_files.fleet_folder(out or state, fleet_folder)))
    typer.echo(f"back to state {past.serial}: {headline(back.desired)}")
    typer.echo("\n".join([*action_lines(back.actions), *outage_lines(back.outages)]))
    if out is not None:
        write_text(out, to_json(back))
        typer.echo(f"\nwritten to {out}; execute it with `ullage apply {out} --state {state}`")


def _applied(state: Path) -> tuple[AppliedPlan, ...]:
    from executor.state.applied_plans import applied_plans
    from executor.state.folder import StateFolder

    return applied_plans(StateFolder(state))


def _chosen(kept: tuple[AppliedPlan, ...], serial: int | None, now: int, state: Path) -> AppliedPlan:
    """The plan that the user means: of this serial, or the last before the present state."""
    found = [item for item in kept if item.serial == serial] if serial is not None else [item for item in kept if item.serial < now][-1:]
    if found:
        return found[0]
    asked = f"state {serial}" if serial is not None else f"a state before {now}"
    known = ", ".join(str(item.serial) for item in kept) or "none"
    raise ValueError(f"{state}: the plan of {asked} is not kept; kept are those of states {known} (`ullage history`)")
