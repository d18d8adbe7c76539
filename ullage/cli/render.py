"""render: from a plan to the files of a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION
from ullage.cli.planning import CHANGES, sound

if TYPE_CHECKING:
    from planner.plan import Plan

SET_HELP = "A setting of the target, for example namespace=inference. Can be repeated."


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(render)


def render(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    to: Annotated[str, typer.Option("--to", autocompletion=completion.targets, help="Target; docs/render.md lists them.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write into.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", autocompletion=completion.target_settings, help=SET_HELP)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 2 when the folder is not what would be written.")
    ] = False,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
) -> None:
    """Write what a target needs to run or route a plan; the same plan gives the same bytes.

    Example: ullage render plan.json --to vllm -o deploy/
    """
    from renderers.files import write
    from renderers.render_target import rendered
    from ullage.plugins import RENDERERS, load

    if not out:
        raise ValueError("-o: the folder has no name; give the folder to write into")
    target = load("renderers", RENDERERS, to)
    plan = sound(plan_file, fleet_folder)
    manifest = rendered(to, target, plan, _values(settings or ()))
    if not target.is_router:
        for warning in _warnings(plan):
            typer.echo(f"warning: {warning}", err=True)
    report = write(manifest, Path(out), check=check, target=to)
    typer.echo(str(report))
    if check and report.differs:
        raise ExitCode(CHANGES)


def _warnings(plan: Plan) -> list[str]:
    """What is not known of the engines' versions."""
    from renderers.vllm.option_table import table_for

    versions = sorted({replica.engine_version for replica in plan.desired.replicas})
    return [warning for version in versions if (warning := table_for(version).warning)]


def _values(texts: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {text!r}: write NAME=VALUE, for example namespace=inference")
        if name in values:
            raise ValueError(f"--set {name}: is given twice; give it once")
        values[name] = value
    return values
