"""validate, schema, init: the fleet file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

FLEET_ARGUMENT = typer.Argument(help="The fleet file.", show_default=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command()(validate)
    app.command()(schema)
    app.command()(init)


def validate(fleet: Annotated[Path, FLEET_ARGUMENT] = Path("fleet.yaml")) -> None:
    """Check a fleet file and list every error with its position.

    Example: ullage validate fleet.yaml
    """
    from ullage.inputs import read_fleet

    loaded = read_fleet(fleet)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    gpus = sum(pool.max_nodes * pool.gpus_per_node for pool in loaded.pools)
    typer.echo(f"{fleet}: valid; {gpus} GPUs in {len(loaded.pools)} pools, {len(loaded.models)} models, {len(loaded.workloads)} workloads")


def schema() -> None:
    """Print the JSON Schema of fleet.yaml, for editors and CI.

    Example: ullage schema > fleet.schema.json
    """
    from planner.spec import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, sort_keys=True))


def init(
    fleet: Annotated[Path, FLEET_ARGUMENT] = Path("fleet.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented starter fleet file.

    Example: ullage init fleet.yaml
    """
    from planner.spec import starter
    from ullage.inputs import check_target, write_text

    check_target(fleet)
    if fleet.exists() and not force:
        raise ValueError(f"{fleet} exists; give another name, or --force to overwrite it")
    write_text(fleet, starter())
    typer.echo(f"wrote {fleet}; edit it, then: ullage plan {fleet}")
