"""playbook: what the plan says about bursts, and doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.run import STATE_OPTION

if TYPE_CHECKING:
    from planner.plan import Burst, Plan

HELP = """Show and execute what a plan says about bursts (policy.bursts).

Example: ullage playbook show plan.json chat
"""
STEP_HELP = "Only this step, counted from 1; default: all of them."
UNDO_HELP = "The way back: who was awake is awake again, then whom the steps refuse is let in again."


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command tree."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
    group.command()(show)
    group.command()(run)
    app.add_typer(group, name="playbook")


def show(
    plan: Annotated[Path, typer.Argument(help="A plan file.")],
    workload: Annotated[str | None, typer.Argument(help="Only bursts of this workload.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array instead of text.")] = False,
) -> None:
    """Print the steps for each burst: who is refused, sleeps, stops or wakes, how long it takes, and who is late meanwhile.

    Example: ullage playbook show plan.json chat
    """
    from ullage.inputs import read_plan
    from ullage.views.burst_text import entry_lines

    document = read_plan(plan)
    found = _entries(document, plan, workload)
    if as_json:
        typer.echo(json.dumps([item.model_dump() for item in found]))
        return
    for item in found:
        typer.echo("\n".join(entry_lines(item, document.desired.risk.attainment_fraction)))


def run(
    plan: Annotated[Path, typer.Argument(help="The plan file that was applied.")],
    workload: Annotated[str, typer.Argument(help="The workload with the burst.")],
    factor: Annotated[str, typer.Argument(help="The multiple of its load, as the playbook has it: 2 or x2.")],
    step: Annotated[int | None, typer.Option("--step", min=1, help=STEP_HELP)] = None,
    undo: Annotated[bool, typer.Option("--undo", help=UNDO_HELP)] = False,
    state: Annotated[Path | None, STATE_OPTION] = None,
) -> None:
    """Do what the playbook says, until it is undone: refuse (503 and Retry-After), and let replicas sleep, stop and wake.

    Example: ullage playbook run plan.json chat x2
    """
    from executor.applying.playbook_run import run_steps, undo_steps
    from ullage.cli.run import print_event
    from ullage.engine_of_state import backend_of
    from ullage.inputs import read_plan, state_folder

    document = read_plan(plan)
    item = _entry(document, plan, workload, factor)
    if step is not None and step > len(item.steps):
        raise ValueError(f"--step {step}: {workload} x{item.load_factor:g} has {len(item.steps)} steps")
    steps = item.steps if step is None else item.steps[step - 1 : step]
    if not steps:
        typer.echo(f"{workload} x{item.load_factor:g}: the playbook has no step for it, so nothing was done")
        return
    folder, burst = state_folder(plan, state), f"{workload} x{item.load_factor:g}"
    if undo:
        undo_steps(folder, steps, backend_of(folder), print_event, burst, whole=step is None)
    else:
        run_steps(folder, steps, backend_of(folder), document, print_event, burst)


def _entries(document: Plan, path: Path, workload: str | None) -> list[Burst]:
    """Those of the workload, or all; ValueError where there are none."""
    found = [item for item in document.desired.playbook if workload in (None, item.workload)]
    if not found:
        whose = f" for {workload}" if workload is not None else ""
        raise ValueError(f"{path}: has no playbook{whose}; policy.bursts in the fleet file asks for one, and `ullage plan` makes it")
    return found


def _entry(document: Plan, path: Path, workload: str, factor: str) -> Burst:
    found = _entries(document, path, workload)
    for item in found:
        if factor.removeprefix("x") == f"{item.load_factor:g}":
            return item
    raise ValueError(f"{path}: the playbook has {workload} with {', '.join(f'x{item.load_factor:g}' for item in found)}, not with {factor}")
