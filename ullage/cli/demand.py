"""demand: what was asked of a fleet, from Prometheus, and what to expect next week."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.duration_option import seconds_of

HELP = """Measure demand with Prometheus, and forecast it.

Example: ullage demand pull fleet.yaml --prometheus http://127.0.0.1:9090
"""

demand_app = typer.Typer(name="demand", help=HELP, no_args_is_help=True)

PROMETHEUS_HELP = "Address of the Prometheus server, for example http://127.0.0.1:9090."
MAP_HELP = "The series of a workload, as label matchers or a served name; nothing leaves it out. Default: model_name, the served name."
ENV_HELP = "Variable of the environment that holds a bearer token for the server."
UNTIL_HELP = "End of the look-back in UTC, for example 2026-11-30T00:00:00Z. Default: the last whole hour."
HOLDOUT_HELP = "The last days that are forecast from those before, to test the forecast: whole hours."
BAND_HELP = "Part of the hours that should stay below the upper end of the band."


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    demand_app.command(name="pull")(pull)
    demand_app.command(name="forecast")(forecast)
    app.add_typer(demand_app)


def pull(
    prometheus: Annotated[str, typer.Option("--prometheus", metavar="URL", help=PROMETHEUS_HELP)],
    fleet: Annotated[Path, typer.Argument(help="The fleet file.")] = Path("fleet.yaml"),
    lookback: Annotated[str, typer.Option("--lookback", help="How far to look back: whole hours.")] = "14d",
    step: Annotated[str, typer.Option("--step", help="Length of a step, which divides an hour.")] = "1h",
    maps: Annotated[list[str] | None, typer.Option("--map", metavar="WORKLOAD=SELECTOR", help=MAP_HELP)] = None,
    token_env: Annotated[str | None, typer.Option("--token-env", metavar="NAME", help=ENV_HELP)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help=UNTIL_HELP)] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Write the history to this file.")] = Path("demand.json"),
) -> None:
    """Ask a Prometheus server what was asked of each workload: requests per second, and lengths of prompts and answers.

    Example: ullage demand pull fleet.yaml --prometheus http://127.0.0.1:9090 -o demand.json
    """
    import asyncio
    import os
    from datetime import UTC, datetime

    from planner.demand.recorded import DemandHistory, moment_of
    from planner.plan.json_files import to_json
    from ullage.demand.prometheus_server import server_at
    from ullage.demand.pull import look_back, pulled
    from ullage.demand.selectors import selectors
    from ullage.inputs import check_target, write_text
    from ullage.views.demand_text import history_summary

    check_target(output, fleet)
    try:
        end = datetime.now(UTC) if until is None else moment_of(until)
    except ValueError as error:
        raise ValueError(f"--until: {error}") from error
    look = look_back(end, seconds_of("--lookback", lookback), seconds_of("--step", step))
    asked = selectors(fleet, maps or ())
    server = server_at(prometheus, token_env, os.environ)

    async def ask() -> DemandHistory:
        async with server:
            return await pulled(server, asked, look, _warn)

    history = asyncio.run(ask())
    write_text(output, to_json(history))
    typer.echo(history_summary(history), nl=False)
    typer.echo(f"\nwrote {output}; next: ullage demand forecast {output}")


def forecast(
    history: Annotated[Path, typer.Argument(help="The history that `ullage demand pull` wrote.")] = Path("demand.json"),
    holdout: Annotated[str, typer.Option("--holdout", help=HOLDOUT_HELP)] = "2d",
    band: Annotated[float, typer.Option("--band", min=0.5, max=0.99, help=BAND_HELP)] = 0.9,
    output: Annotated[Path, typer.Option("-o", "--output", help="Write the forecast to this file.")] = Path("forecast.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the forecast as one JSON object instead of a table.")] = False,
) -> None:
    """Forecast the demand of each workload by the hour of the week, with a band, and test it on the last days against last week.

    Example: ullage demand forecast demand.json --holdout 2d -o forecast.json
    """
    from planner.demand.back_test import forecast_of
    from planner.demand.recorded import HOUR_S, DemandHistory, read_document
    from planner.plan.json_files import to_json
    from ullage.inputs import check_target, read_bytes, write_text
    from ullage.views.demand_text import forecast_text

    check_target(output, history)
    holdout_s = seconds_of("--holdout", holdout)
    if holdout_s < HOUR_S or holdout_s % HOUR_S:
        raise ValueError(f"--holdout {holdout}: must be whole hours, for example 2d")
    raw = read_bytes(history, "`ullage demand pull` writes it")
    recorded = read_document(DemandHistory, raw, str(history))
    found = forecast_of(recorded, holdout_h=int(holdout_s) // HOUR_S, quantile=band, warn=_warn)
    write_text(output, to_json(found))
    if as_json:
        typer.echo(found.model_dump_json())
        return
    typer.echo(forecast_text(found), nl=False)
    typer.echo(f"\nwrote {output}; next: demand: {{forecast: {output.name}}} in the fleet file")


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
