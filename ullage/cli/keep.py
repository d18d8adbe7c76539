"""reconcile: keep what runs equal to a plan."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from executor.events import OnEvent
    from executor.reconcile.memory import PassReport
    from executor.reconcile.reconciler import ReadGoal, Reconciler
    from executor.state.folder import StateFolder

ERROR = 1


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(reconcile)


def reconcile(
    plan: Annotated[Path | None, typer.Argument(help="A plan file; default: the plan that was applied last.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the plan, or here.")] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", autocompletion=completion.backends, help="Kind of engine; default: that of the last apply."),
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Only for emulated engines: as in apply.")] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until SIGTERM or Ctrl-C.")] = False,
    interval: Annotated[str, typer.Option("--interval", help="With --watch: time between two passes.")] = "10s",
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=1, max=65535, help="With --watch: serve /metrics on this port of 127.0.0.1.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Forget earlier failures: try held replicas again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per pass instead of text.")] = False,
) -> None:
    """Make what runs equal to the plan, whatever has happened to it: one pass, or with --watch one after the other.

    Example: ullage reconcile --watch
    """
    from executor.reconcile.run import until_sure
    from executor.state.folder import StateFolder
    from ullage.inputs import STATE_FOLDER, state_folder
    from ullage.traffic.emulated import emulated_store

    root = state_folder(plan, state) if plan is not None else state or Path(STATE_FOLDER)
    interval_s = _interval_s(interval)
    if not watch and metrics_port is not None:
        raise ValueError("--metrics-port works with --watch only: one pass is over before anybody asks")
    if watch and dry_run:
        raise ValueError("--dry-run is one pass that does nothing; leave --watch out")
    folder = StateFolder(root)
    read_goal = _goal_from(folder, plan, fleet_folder)
    with emulated_store(store):
        made = _reconciler(folder, plan, engine, fleet_folder, retry=retry, quiet=as_json)
        if watch:
            asyncio.run(_go_on(made, read_goal, interval_s, metrics_port, as_json=as_json))
            return
        reports = asyncio.run(until_sure(made, read_goal, dry_run=dry_run))
    for report in reports:
        _print(report, as_json=as_json, always=report is reports[-1], dry_run=dry_run)
    if reports[-1].outcome in ("failed", "busy") or reports[-1].drift:
        raise ExitCode(ERROR)


async def _go_on(made: Reconciler, read_goal: ReadGoal, interval_s: float, metrics_port: int | None, *, as_json: bool) -> None:
    """Pass after pass until SIGTERM or Ctrl-C."""
    from executor.reconcile.loop import watch as watch_on
    from executor.reconcile.loop_metrics import serving

    async with serving(metrics_port) as metrics:

        def told(report: PassReport) -> None:
            metrics.add(report)
            _print(report, as_json=as_json, always=False)

        await watch_on(made, read_goal, interval_s, told)


def _reconciler(
    folder: StateFolder, plan: Path | None, engine: str | None, fleet_folder: Path | None, *, retry: bool, quiet: bool
) -> Reconciler:
    from executor.events import ignore
    from executor.reconcile.run import Settings, reconciler
    from ullage import local_files
    from ullage.checking import architectures_from
    from ullage.engine_of_state import engine_of
    from ullage.kv_blocks import least_kv_blocks
    from ullage.plugins import BACKENDS, load

    kind = engine or engine_of(folder.root)
    origin = local_files.fleet_folder(plan or folder.root, fleet_folder)
    backend = load("backends", BACKENDS, kind)(folder, origin)
    on_event: OnEvent = ignore if quiet else _tell
    return reconciler(folder, backend, Settings(engine=kind, retry=retry), least_kv_blocks(architectures_from(origin)), on_event)


def _goal_from(folder: StateFolder, plan: Path | None, fleet_folder: Path | None) -> ReadGoal:
    """Reads the plan to keep: the file, checked as apply checks it, or what was applied last."""
    from executor.errors import ExecutorError
    from executor.state.goal import goal_of
    from planner.plan import Plan
    from ullage import local_files
    from ullage.checking import architectures_from, checked
    from ullage.inputs import read_plan

    def from_state() -> Plan | None:
        return goal_of(folder)

    def from_file() -> Plan | None:
        assert plan is not None
        try:
            architectures = architectures_from(local_files.fleet_folder(plan, fleet_folder))
            return checked(read_plan(plan), str(plan), architecture=architectures)
        except ValueError as error:
            raise ExecutorError(str(error)) from error

    return from_state if plan is None else from_file


def _interval_s(text: str) -> float:
    from planner.spec.units import SECONDS, UnitError

    try:
        interval_s = float(SECONDS.read(text))
    except UnitError as error:
        raise ValueError(f"--interval {text!r}: {str(error).partition(';')[0]}; write for example 10s or 1min") from error
    if not 0.1 <= interval_s <= 3600:
        raise ValueError(f"--interval {text}: must be between 100ms and 1h")
    return interval_s


def _tell(event: object) -> None:
    from executor.events import Event
    from ullage.cli.run import print_event

    assert isinstance(event, Event)
    print_event(event)


def _print(report: PassReport, *, as_json: bool, always: bool, dry_run: bool = False) -> None:
    from ullage.views.reconcile_text import pass_text

    if as_json:
        typer.echo(json.dumps(asdict(report), sort_keys=True))
        return
    text = pass_text(report, dry_run=dry_run)
    if text and (always or report.outcome != "steady"):
        typer.echo(text, nl=False)
