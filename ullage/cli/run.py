"""apply, status, destroy: start what a plan describes, compare it with what runs, stop it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from executor.backends.engine_kinds import OpenBackend
    from executor.events import Event
    from planner.plan import Plan, State

STATE_OPTION = typer.Option("--state", help="State folder; default .ullage beside the plan.")
TARGET_OPTION = typer.Option(
    "--target", metavar="MODEL|REPLICA", help="Change only these replicas, and leave the rest as it runs. Can be repeated."
)
IGNORE_BUDGET_OPTION = typer.Option("--ignore-budget", help="Stop replicas although policy.disruption_budget does not allow it now.")
STATE_ARGUMENT = typer.Option("--state", help="State folder.")
ERROR = 1


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command()(apply)
    app.command()(status)
    app.command()(destroy)


def apply(
    plan: Annotated[Path, typer.Argument(help="A plan file.")],
    state: Annotated[Path | None, STATE_OPTION] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            autocompletion=completion.backends,
            help="vllm: the vLLM of this environment, on real GPUs; emulated: emulated GPUs and engines. "
            "Default: that of the last apply, vllm for the first.",
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Only for emulated engines: folder of measurements that set their times and memory.")
    ] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the plan and print what would be done; execute nothing.")] = False,
    target: Annotated[list[str] | None, TARGET_OPTION] = None,
    ignore_budget: Annotated[bool, IGNORE_BUDGET_OPTION] = False,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", "-y", help="Do not ask.")] = False,
) -> None:
    """Execute the actions of a plan: start, route, drain, stop. After a crash, run it again to continue.

    Example: ullage apply plan.json --engine emulated
    """
    from executor.applying.apply import apply as apply_plan
    from ullage import local_files
    from ullage.engine_of_state import engine_of
    from ullage.inputs import read_state, state_folder
    from ullage.plugins import BACKENDS, load
    from ullage.traffic.emulated import emulated_store

    folder = state_folder(plan, state)
    engine = engine or engine_of(folder)
    open_backend = load("backends", BACKENDS, engine)
    origin = local_files.fleet_folder(plan, fleet_folder)
    document = _read_sound(plan, folder, engine, store, origin)
    if target:
        document = _part_of(document, read_state(folder), target)
    _announce(document)
    if dry_run:
        _tell_what_would_be_done(document, folder)
        return
    if document.actions and not auto_approve:
        _confirm()
    with emulated_store(store):
        result = apply_plan(document, folder, open_backend, print_event, origin, engine, ignore_budget=ignore_budget)
    _tell_what_runs(folder, result)


def _read_sound(plan: Path, folder: Path, engine: str, store: Path | None, origin: Path) -> Plan:
    """The plan, with everything checked that can be before anything is done."""
    from ullage.checking import architectures_from, checked
    from ullage.inputs import read_plan, read_state

    document = read_plan(plan)
    _check_store(document, engine, store)
    if engine != "emulated":
        _check_files(document, plan, origin)
    return checked(document, str(plan), _made_against(document, read_state(folder)), architectures_from(origin))


def _part_of(document: Plan, state: State, targets: Sequence[str]) -> Plan:
    """The part of a plan that concerns the targets; ValueError where it is not possible without the rest."""
    from planner.check import transition_problems
    from planner.target import targeted
    from profiles.catalogue import builtin

    part = targeted(document, state, targets)
    found = transition_problems(part, state, builtin().gpu)
    if found:
        told = "\n".join(f"  {problem}" for problem in found)
        raise ValueError(
            f"this part of the plan needs other parts of it:\n{told}\nname what is in its way as a --target, too, or apply all"
        )
    return part


def _tell_what_runs(folder: Path, state: State) -> None:
    """Print what runs now; exit with 1 when this is not what was applied."""
    from executor.status import status as observe
    from ullage.engine_of_state import backend_of

    report = observe(folder, backend_of(folder))
    ready = sum(replica.condition == "ready" for replica in report.replicas)
    asleep = f", {len(state.asleep)} asleep" if state.asleep else ""
    typer.echo(f"applied: {ready} of {len(state.replicas)} replicas are ready{asleep}, state serial {state.serial}")
    for line in report.drift:
        typer.echo(f"drift: {line}")
    if report.drift:
        raise ExitCode(ERROR)


def _announce(document: Plan) -> None:
    """Print what will be done, and what nobody but the user can confirm."""
    from planner.check import TAKEN_AS_SAID
    from planner.hosts import is_everywhere
    from ullage.views.plan.plan_text import action_lines, outage_lines

    typer.echo("\n".join([*action_lines(document.actions), *outage_lines(document.outages)]))
    typer.echo(f"checked; the checker cannot confirm, and takes from the plan: {'; '.join(TAKEN_AS_SAID)}")
    if is_everywhere(document.desired.router.host):
        typer.echo(f"warning: the router listens on every interface ({document.desired.router.host}), as the plan says", err=True)


def _tell_what_would_be_done(document: Plan, folder: Path) -> None:
    """Print how much of the plan is left to do; StalePlanError for one that apply would refuse."""
    from executor.applying.apply import done_before

    done = done_before(document, folder)
    goes_on = f"; an earlier apply of this plan did {len(done)}" if done else ""
    typer.echo(f"dry run: {len(document.actions) - len(done)} of {len(document.actions)} actions would be done{goes_on}; nothing was")


def _check_files(document: Plan, plan: Path, origin: Path) -> None:
    """Every local file that the engines of this machine read must be there."""
    from ullage import local_files

    for host in local_files.require_files(document, plan, origin):
        typer.echo(f"note: {host} is not this machine: the local files of its replicas are not checked", err=True)


def _check_store(plan: Plan, engine: str, store: Path | None) -> None:
    """Refuse --store for real engines; warn when emulated engines use other measurements than the plan."""
    from ullage.profiling.imports import stored
    from ullage.traffic.emulated import store_warning

    if engine != "emulated":
        if store is not None:
            raise ValueError(f"--store works with --engine emulated only; leave it out for --engine {engine}")
        return
    warning = store_warning(plan, stored(store))
    if warning is not None:
        typer.echo(f"warning: {warning}", err=True)


def _made_against(plan: Plan, now: State) -> State | None:
    """The state that the plan was made against; None when the state has changed since, which apply itself refuses or resumes."""
    from planner.plan import state_hash

    return now if plan.prior.state_hash == state_hash(now) else None


def _confirm() -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise ValueError("standard input is no terminal, so nobody can confirm; give --auto-approve to go on without a question")
    if not typer.confirm("Execute these actions?"):
        typer.echo("nothing was done")
        raise ExitCode(ERROR)


def print_event(event: Event) -> None:
    """Print what was just done."""
    from ullage.views.status_text import event_line

    # a reader that went away (`| head`, a lost terminal) must not leave a change half done; the journal keeps what happened
    with suppress(OSError):
        typer.echo(event_line(event))


def _nothing_applied(state: Path) -> str:
    return f"{state}: this state folder does not exist, so nothing was applied from it; name another one with --state"


def status(state: Annotated[Path, STATE_ARGUMENT] = Path(".ullage")) -> None:
    """Compare what should run with what runs; exit with 1 when they differ, or when the state folder does not exist.

    Example: ullage status --state .ullage
    """
    from executor.status import status as observe
    from ullage.engine_of_state import backend_of
    from ullage.views.status_text import status_text

    if not state.exists():
        raise ValueError(f"{_nothing_applied(state)}; `ullage apply plan.json` creates one")
    report = observe(state, backend_of(state))
    typer.echo(status_text(report), nl=False)
    if report.drift:
        raise ExitCode(ERROR)


def destroy(
    state: Annotated[Path, STATE_ARGUMENT] = Path(".ullage"),
    auto_approve: Annotated[bool, typer.Option("--auto-approve", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the router and every engine that was started from this state folder.

    Example: ullage destroy --state .ullage --auto-approve
    """
    from executor.applying.destroy import destroy as take_down
    from ullage.views.status_text import destroy_text

    if not state.exists():
        typer.echo(_nothing_applied(state))
        return
    if not auto_approve:
        _confirm()
    report = take_down(state, print_event, _backend_if_known(state))
    typer.echo(destroy_text(report), nl=False)
    if report.leftovers:
        raise ExitCode(ERROR)


def _backend_if_known(state: Path) -> OpenBackend | None:
    """The backend of a state folder; None, with a warning, where it cannot be told: that must not keep anything running."""
    from executor.errors import StateError
    from ullage.engine_of_state import backend_of

    try:
        return backend_of(state)
    except (StateError, ValueError) as error:
        typer.echo(f"warning: {error}; its GPUs are not looked at", err=True)
        return None
