"""report: a plan or a study as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

SOURCE_HELP = "A plan file, or a study: its folder (`ullage whatif -o DIR`) or its study.json."


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(report)


def report(
    source: Annotated[Path, typer.Argument(metavar="PLAN_OR_STUDY", help=SOURCE_HELP)] = Path("plan.json"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the page to this file.")] = Path("report.html"),
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
) -> None:
    """Write a plan, or a study of many plans, as one HTML page that loads nothing.

    Example: ullage report plan.json -o report.html
    """
    from ullage.inputs import check_target, write_text

    for file in _files(source):
        check_target(out, file)
    write_text(out, _page(source, fleet_folder))
    typer.echo(f"wrote {out}")


def _files(source: Path) -> tuple[Path, ...]:
    """What the page may not take the place of."""
    from ullage.study.study_folder import RESULTS, ROWS

    return tuple(source / name for name in (RESULTS, ROWS)) if source.is_dir() else (source,)


def _page(source: Path, fleet_folder: Path | None) -> str:
    from ullage.study.study_folder import RESULTS, read_results

    if source.is_dir() and not (source / RESULTS).exists():
        raise ValueError(
            f"{source}: holds no {RESULTS}; expected a plan file, or the folder that `ullage whatif fleet.yaml ... -o DIR` made"
        )
    if source.is_dir() or _is_study(source):
        from ullage.views.html.study.study_page import study_page

        return study_page(read_results(source))
    from ullage.cli.planning import sound
    from ullage.views.html.plan.report_page import report_page

    return report_page(sound(source, fleet_folder))


def _is_study(file: Path) -> bool:
    """Whether it is JSON with `rows` at its top; what cannot be read is left to the reader of plans, which says what is wrong."""
    from profiles.regular_files import read_regular

    try:
        document = json.loads(read_regular(file))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "rows" in document
