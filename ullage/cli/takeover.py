"""import and adopt: servers that somebody started, as a fleet file and in a state folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.exit_code import ExitCode

if TYPE_CHECKING:
    from executor.hand_started.adoption import AdoptionProposal

ERROR = 1

OUTPUT_OPTION = typer.Option("-o", "--output", help="Write to this new file. A file that exists is not overwritten.")
UNIT_OPTION = typer.Option("--from-unit", help="A systemd unit that starts vLLM. May be given several times.")
COMPOSE_OPTION = typer.Option("--from-compose", help="A compose file with services that run vLLM. May be given several times.")
ENGINES_OPTION = typer.Option("--engines", help="The servers that run on this machine; so without any other source.")
PORT_OPTION = typer.Option("--port", help="Only running servers that listen on this port. May be given several times.")
STATE_OPTION = typer.Option("--state", help="State folder.")
FLEET_OPTION = typer.Option("--fleet", help="The fleet file whose models and pools the servers belong to.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command("import")(import_servers)
    app.command()(adopt)


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


def adopt(
    state: Annotated[Path, STATE_OPTION] = Path(".ullage"),
    fleet: Annotated[Path, FLEET_OPTION] = Path("fleet.yaml"),
    port: Annotated[list[int] | None, PORT_OPTION] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the proposal; write nothing.")] = False,
    confirm: Annotated[bool, typer.Option("--confirm", help="Adopt what the proposal says.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Forget all that was adopted; it goes on running.")] = False,
) -> None:
    """Take servers that somebody started into a state folder, without a restart: a proposal first, then --confirm.

    Example: ullage adopt --fleet fleet.yaml
    """
    from executor.hand_started import adoption
    from ullage.engine_of_state import DEFAULT_ENGINE_KIND, backend_of, engine_of
    from ullage.views.adoption_text import adoption_text

    if sum((dry_run, confirm, release)) > 1:
        raise ValueError("--dry-run, --confirm and --release: give one of them")
    if release:
        names = adoption.release(state)
        typer.echo(f"released: {', '.join(names)}; they go on running" if names else f"{state}: nothing was adopted there")
        return
    kind = engine_of(state)
    if kind != DEFAULT_ENGINE_KIND:
        raise ValueError(f"{state}: holds {kind} engines; real servers need a state folder of their own (--state)")
    if confirm:
        names = adoption.confirm(state, backend_of(state), kind, fleet.resolve().parent)
        typer.echo(f"adopted: {', '.join(names)}; then: ullage status --state {state}")
        return
    proposal = _proposal(state, fleet, frozenset(port or ()))
    typer.echo(adoption_text(proposal), nl=False)
    if not proposal.servers:
        raise ExitCode(ERROR)
    if not dry_run:
        path = adoption.write_proposal(state, proposal)
        typer.echo(f"wrote {path}; nothing is changed yet; to adopt: ullage adopt --confirm --state {state}")


def _proposal(state: Path, fleet: Path, only_ports: frozenset[int]) -> AdoptionProposal:
    from executor.hand_started.found_servers import find_servers
    from ullage.engine_of_state import backend_of
    from ullage.inputs import read_fleet, read_state
    from ullage.takeover.adoption_draft import Adoption

    if not fleet.exists():
        raise ValueError(f"{fleet}: there is no such file; `ullage import -o {fleet}` writes it from what runs")
    loaded = read_fleet(fleet)
    servers = find_servers(only_ports).servers
    return Adoption(loaded, fleet.resolve().parent, read_state(state), state, backend_of(state)).proposal(servers)
