"""demo: plan, start, replay and stop a fleet on emulated engines, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.exit_code import ExitCode


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(demo)


def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Length of the replayed part of the trace.")] = 45.0,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Keep plan, logs and state in this folder; default: a temporary folder.")
    ] = None,
) -> None:
    """Plan 27 tenants of 13 models onto shared H100s, run them on emulated engines behind a real Envoy, replay a real trace.

    Example: ullage demo
    """
    from ullage.demo import run_demo

    if not run_demo(seconds, folder, typer.echo):
        raise ExitCode(1)
