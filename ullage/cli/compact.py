"""compact: move few running replicas so that free capacity comes together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(compact)


def compact(
    fleet: Annotated[Path, typer.Argument(help="The fleet file.")] = Path("fleet.yaml"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan to this file, if there is one.")] = None,
    moves: Annotated[int, typer.Option("--moves", metavar="N", help="Most replicas that are stopped or moved.")] = 3,
    load: Annotated[
        float | None, typer.Option("--load", metavar="GIB", help="Most GiB of weights that are loaded; default: no limit.")
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the fleet file.")] = None,
    prior: Annotated[
        Path | None, typer.Option("--prior", metavar="PLAN", help="Compact as if this plan had been applied; no state folder is read.")
    ] = None,
) -> None:
    """Plan few moves of what runs, so that free capacity comes together. It costs no more and serves no less.

    Where no move within the budget helps, it says so and writes nothing.

    Example: ullage compact fleet.yaml --moves 2 -o compact.json
    """
    from planner.plan import to_json
    from ullage.inputs import check_target, read_fleet, write_text
    from ullage.planning.compacting import MoveBudget, compact_fleet
    from ullage.planning.running_state import running_state
    from ullage.views.plan.compact_text import compact_text

    budget = MoveBudget(moves, load)
    if out is not None:
        check_target(out, fleet)
    compacted = compact_fleet(read_fleet(fleet), running_state(fleet, state, prior), budget)
    typer.echo(compact_text(compacted, budget), nl=False)
    if out is not None and compacted.helps:
        write_text(out, to_json(compacted.after))
        typer.echo(f"\nwrote {out}; next: ullage apply {out}")
