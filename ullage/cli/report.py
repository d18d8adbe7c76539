"""report: a plan as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(report)


def report(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")] = Path("plan.json"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the page to this file.")] = Path("report.html"),
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
) -> None:
    """Write a plan as one HTML page that loads nothing: fleet, cost, saving, forecast, reasons and what a lost node does.

    Example: ullage report plan.json -o report.html
    """
    from ullage.cli.planning import sound
    from ullage.inputs import check_target, write_text
    from ullage.views.html.report_page import report_page

    check_target(out, plan_file)
    write_text(out, report_page(sound(plan_file, fleet_folder)))
    typer.echo(f"wrote {out}")
