"""The option of every command that opens the local files of a plan."""

from __future__ import annotations

import typer

FLEET_FOLDER_OPTION = typer.Option(
    "--fleet-folder", help="Folder of the fleet file, where local paths of the plan start; default: the folder of the plan file."
)
