"""import and adopt: servers that somebody started, as a fleet file and in a state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.exit_code import ExitCode

ERROR = 1

OUTPUT_OPTION = typer.Option("-o", "--output", help="Write to this new file. A file that exists is not overwritten.")
UNIT_OPTION = typer.Option("--from-unit", help="A systemd unit that starts vLLM. May be given several times.")
COMPOSE_OPTION = typer.Option("--from-compose", help="A compose file with services that run vLLM. May be given several times.")
ENGINES_OPTION = typer.Option("--engines", help="The servers that run on this machine; so without any other source.")
PORT_OPTION = typer.Option("--port", help="Only running servers that listen on this port. May be given several times.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command("import")(import_servers)


def import_servers(
    output: Annotated[Path, OUTPUT_OPTION] = Path("fleet.yaml"),
    unit: Annotated[list[Path] | None, UNIT_OPTION] = None,
    compose: Annotated[list[Path] | None, COMPOSE_OPTION] = None,
    engines: Annotated[bool, ENGINES_OPTION] = False,
    port: Annotated[list[int] | None, PORT_OPTION] = None,
) -> None:
    """Write a fleet file from servers that run, from systemd units or from compose files.

    Example: ullage import --engines -o fleet.yaml
    """
    from profiles.catalogue import builtin
    from ullage.inputs import check_target, write_text
    from ullage.takeover.fleet_draft import fleet_draft
    from ullage.takeover.sources import servers_from

    check_target(output)
    if output.exists():
        raise ValueError(f"{output} exists; give the name of a new file with -o")
    found = servers_from(tuple(unit or ()), tuple(compose or ()), frozenset(port or ()), running=engines)
    draft = fleet_draft(found.servers, found.machine, builtin(), output)
    write_text(output, draft.text)
    unknown = draft.text.count("# unknown:")
    typer.echo(f"wrote {output}: {len(found.servers)} servers; {unknown} lines say what is unknown; then: ullage validate {output}")
    if draft.faults:
        typer.echo("\n".join(["it does not load yet, correct it by hand:", *draft.faults]), err=True)
        raise ExitCode(ERROR)
