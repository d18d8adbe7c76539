"""discover: the pools of the fleet file from the GPUs of this machine, and the vLLM servers that run on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

OUTPUT_OPTION = typer.Option("-o", "--output", help="Write to this new file instead of standard output.")
NAME_OPTION = typer.Option("--name", help="Name of the pool; further kinds of GPU get NAME-2 and so on. Default: after the GPU type.")
JSON_OPTION = typer.Option("--json", help="Print JSON instead of YAML: the pools, and everything that was read.")
ENGINES_OPTION = typer.Option("--engines", help="Print the vLLM servers that run on this machine instead, whoever started them.")


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(discover)


def discover(
    output: Annotated[Path | None, OUTPUT_OPTION] = None,
    name: Annotated[str | None, NAME_OPTION] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
    engines: Annotated[bool, ENGINES_OPTION] = False,
) -> None:
    """Print the pools section of a fleet file from the GPUs of this machine.

    Example: ullage discover -o pools.yaml --name h100
    """
    import re

    from executor.errors import ExecutorError
    from executor.nvml.machine_readings import read_machine
    from planner.spec.field_types import NAME_PATTERN
    from profiles.catalogue import builtin
    from ullage.discovered import discovered_pools
    from ullage.inputs import check_target, write_text
    from ullage.views.pools_yaml import machine_facts, pools_yaml

    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"--name {name!r}: up to 63 letters, digits, dots, dashes and underscores, a letter or digit first and last")
    if output is not None:
        check_target(output)
        if output.exists():
            raise ValueError(f"{output} exists; give the name of a new file")
    if engines:
        _tell_servers(output, as_json=as_json)
        return
    try:
        machine = read_machine()
    except ExecutorError as error:
        raise ValueError(
            f"{error}\nnothing can be discovered; `ullage catalogue gpus` lists the names for pools of other machines"
        ) from error
    pools = discovered_pools(machine, builtin(), name)
    text = json.dumps(machine_facts(machine, pools), indent=2) + "\n" if as_json else pools_yaml(pools)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(f"wrote {output}; put it into the fleet file in place of its pools")


def _tell_servers(output: Path | None, *, as_json: bool) -> None:
    """Print the servers that run, or write them to a file."""
    from executor.hand_started.found_servers import find_servers
    from ullage.inputs import write_text
    from ullage.views.servers_text import servers_facts, servers_text

    found = find_servers()
    text = json.dumps(servers_facts(found), indent=2) + "\n" if as_json else servers_text(found)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(f"wrote {output}")
