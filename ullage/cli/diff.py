"""diff: what changes from one plan to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.exit_code import ExitCode

CHANGES = 2


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(diff)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The plan before, for example the one that was applied.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The plan after.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a comment on GitHub or GitLab.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 when the plans are alike, 2 when they differ, 1 on errors.")
    ] = False,
) -> None:
    """Print what changes from one plan file to another: cost, moves, goals, risks, and what clients notice.

    Plans that differ only in the hashes of the files they were made from are alike.

    Example: ullage diff applied.json plan.json --markdown
    """
    from ullage.inputs import read_plan
    from ullage.planning.plan_change import change_between
    from ullage.views.plan.diff_markdown import diff_markdown
    from ullage.views.plan.diff_text import diff_text, parts_line

    change = change_between(read_plan(old), read_plan(new))
    if markdown:
        typer.echo(diff_markdown(change), nl=False)
    else:
        typer.echo(f"{diff_text(change.before, change.after, change.actions)}\n{parts_line(change.parts)}")
    if detailed_exitcode and (change.actions or change.parts):
        raise ExitCode(CHANGES)
