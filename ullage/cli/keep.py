"""reconcile: keep what runs equal to a plan."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from executor.events import Event
    from executor.reconcile.memory import PassReport
    from ullage.keeping import Keeper
    from ullage.replanning import ReplanSettings

ERROR = 1

PLAN_ARGUMENT = typer.Argument(help="A plan file, or the folder of a schedule; default: the plan that was applied last.")
STATE_OPTION = typer.Option("--state", help="State folder; default .ullage beside the plan, or here.")
ENGINE_OPTION = typer.Option("--engine", autocompletion=completion.backends, help="Kind of engine; default: that of the last apply.")
STORE_OPTION = typer.Option("--store", help="Only for emulated engines: as in apply.")
WATCH_OPTION = typer.Option("--watch", help="Go on until SIGTERM or Ctrl-C.")
INTERVAL_OPTION = typer.Option("--interval", help="With --watch: time between two passes.")
METRICS_OPTION = typer.Option("--metrics-port", min=1, max=65535, help="With --watch: serve /metrics on this port of 127.0.0.1.")
REPLAN_OPTION = typer.Option("--replan", metavar="FLEET", help="With --watch: plan this fleet again when demand leaves the plan.")
AFTER_OPTION = typer.Option("--replan-after", help="For so long demand must have been outside.")
GAIN_OPTION = typer.Option("--replan-gain", min=0.0, max=1.0, help="Least part of the cost that a plan for less demand must save.")
HOUR_OPTION = typer.Option("--replan-per-hour", min=1, max=60, help="Plan again so many times per hour at most.")
SHADOW_OPTION = typer.Option("--shadow", help="With --replan: only say what would be kept from then on.")
RETRY_OPTION = typer.Option("--retry", help="Forget earlier failures: try held replicas, and plans that were taken back, again.")
DRY_RUN_OPTION = typer.Option("--dry-run", help="Print what would be done; do nothing.")
JSON_OPTION = typer.Option("--json", help="One JSON object per line instead of text: events and passes.")


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(reconcile)


def reconcile(
    plan: Annotated[Path | None, PLAN_ARGUMENT] = None,
    state: Annotated[Path | None, STATE_OPTION] = None,
    engine: Annotated[str | None, ENGINE_OPTION] = None,
    store: Annotated[Path | None, STORE_OPTION] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
    watch: Annotated[bool, WATCH_OPTION] = False,
    interval: Annotated[str, INTERVAL_OPTION] = "10s",
    metrics_port: Annotated[int | None, METRICS_OPTION] = None,
    replan: Annotated[Path | None, REPLAN_OPTION] = None,
    replan_after: Annotated[str, AFTER_OPTION] = "10min",
    replan_gain: Annotated[float, GAIN_OPTION] = 0.05,
    replan_per_hour: Annotated[int, HOUR_OPTION] = 2,
    shadow: Annotated[bool, SHADOW_OPTION] = False,
    retry: Annotated[bool, RETRY_OPTION] = False,
    dry_run: Annotated[bool, DRY_RUN_OPTION] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make what runs equal to the plan, whatever has happened to it: one pass, or with --watch one after the other.

    Example: ullage reconcile --watch
    """
    from executor.state.folder import StateFolder
    from ullage.inputs import STATE_FOLDER, state_folder
    from ullage.keeping import Keeper
    from ullage.traffic.emulated import emulated_store

    _check_options(plan, replan, metrics_port, watch=watch, dry_run=dry_run, shadow=shadow)
    root = state_folder(plan, state) if plan is not None else state or Path(STATE_FOLDER)
    interval_s = seconds_of("--interval", interval, 0.1, 3600.0)
    settings = _replan_settings(
        replan, seconds_of("--replan-after", replan_after, 1.0, 86_400.0), replan_gain, replan_per_hour, shadow=shadow
    )
    keeper = Keeper(StateFolder(root), plan, engine, fleet_folder)
    with emulated_store(store):
        if watch:
            _watch(keeper, interval_s, metrics_port, settings, retry=retry, as_json=as_json)
        else:
            _once(keeper, retry=retry, dry_run=dry_run, as_json=as_json)


def _check_options(plan: Path | None, replan: Path | None, metrics_port: int | None, *, watch: bool, dry_run: bool, shadow: bool) -> None:
    """ValueError for options that contradict each other."""
    if not watch and (metrics_port is not None or replan is not None):
        option = "--metrics-port" if metrics_port is not None else "--replan"
        raise ValueError(f"{option} works with --watch only: one pass is over before anybody asks")
    if watch and dry_run:
        raise ValueError("--dry-run is one pass that does nothing; leave --watch out")
    if replan is not None and plan is not None:
        raise ValueError("--replan makes plans of its own; leave the plan file out, or let its pipeline make the plans")
    if shadow and replan is None:
        raise ValueError("--shadow says what --replan would do; give --replan FLEET")


def _replan_settings(fleet: Path | None, after_s: float, gain_fraction: float, per_hour: int, *, shadow: bool) -> ReplanSettings | None:
    if fleet is None:
        return None
    from ullage.inputs import read_fleet
    from ullage.replanning import ReplanSettings

    # what cannot be read later is told now
    read_fleet(fleet)
    return ReplanSettings(fleet, after_s, gain_fraction, per_hour, shadow)


def _once(keeper: Keeper, *, retry: bool, dry_run: bool, as_json: bool) -> None:
    """Passes until all is clear; exit with 1 when something is not as planned."""
    from executor.reconcile.run import until_sure

    made = keeper.reconciler(_tell_json if as_json else _tell, retry=retry)
    reports = asyncio.run(until_sure(made, keeper.read_goal, dry_run=dry_run))
    for report in reports:
        _print(report, as_json=as_json, always=report is reports[-1], dry_run=dry_run)
    if reports[-1].outcome in ("failed", "busy") or reports[-1].drift:
        raise ExitCode(ERROR)


def _watch(
    keeper: Keeper, interval_s: float, metrics_port: int | None, settings: ReplanSettings | None, *, retry: bool, as_json: bool
) -> None:
    from ullage.keeping import go_on

    made = keeper.reconciler(_tell_json if as_json else _tell, retry=retry)

    first = True

    def told(report: PassReport) -> None:
        nonlocal first
        _print(report, as_json=as_json, always=first)
        first = False

    def say(text: str) -> None:
        typer.echo(json.dumps({"replan": text}) if as_json else f"replan: {text}")

    asyncio.run(go_on(made, keeper, interval_s, metrics_port, told, settings, say))


def seconds_of(option: str, text: str, least_s: float, most_s: float) -> float:
    """The value of an option that is a time; ValueError names the option."""
    from planner.spec.units import SECONDS, UnitError

    try:
        found_s = float(SECONDS.read(text))
    except UnitError as error:
        raise ValueError(f"{option} {text!r}: {str(error).partition(';')[0]}; write for example 10s or 1min") from error
    if not least_s <= found_s <= most_s:
        raise ValueError(f"{option} {text}: must be between {least_s:g}s and {most_s:g}s")
    return found_s


def _tell(event: Event) -> None:
    from ullage.cli.run import print_event

    print_event(event)


def _tell_json(event: Event) -> None:
    with suppress(OSError):
        typer.echo(json.dumps({"event": asdict(event)}, sort_keys=True))


def _print(report: PassReport, *, as_json: bool, always: bool, dry_run: bool = False) -> None:
    from ullage.views.reconcile_text import pass_text

    if as_json:
        typer.echo(json.dumps({"pass": asdict(report)}, sort_keys=True))
        return
    text = pass_text(report, dry_run=dry_run)
    if text and (always or report.outcome != "steady"):
        typer.echo(text, nl=False)
