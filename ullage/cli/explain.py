"""explain: why a plan is as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SUBJECT_ARGUMENT = typer.Argument(metavar="[WORKLOAD|MODEL|REPLICA|NODE|GPU]", help="What to explain; default: the whole plan in short.")


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(explain)


def explain(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")] = Path("plan.json"),
    subject: Annotated[str | None, SUBJECT_ARGUMENT] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan's reasons as one JSON object instead of text.")] = False,
) -> None:
    """Explain a plan: why a replica is where it is, or a GPU empty, what else was possible, what limits it and what would break it.

    Example: ullage explain plan.json llama-8b
    """
    from ullage.inputs import read_plan
    from ullage.views.plan.explain_text import explain_text

    desired = read_plan(plan_file).desired
    # also with --json: a subject that does not exist, or a plan without an explanation, is an error
    text = explain_text(desired, subject)
    if as_json and desired.explanation is not None:
        typer.echo(desired.explanation.model_dump_json())
    else:
        typer.echo(text, nl=False)
