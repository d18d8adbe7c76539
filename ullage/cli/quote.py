"""quote: what one more workload would add to a fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode

# Exit code of an answer: not all of the new workload can be served.
NOT_SERVED = 2

SLO_HELP = "Goals TTFT/TPOT at p95, for example 500ms/50ms, or only TTFT; default: by class."
OUTPUT_HELP = "Output tokens per request; default: 200, and none for a model that embeds."

FLEET_HELP = "Only with a plan: the fleet file that it was made from; default: the one beside the plan."


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(quote)


def quote(
    model: Annotated[str, typer.Argument(help="A model of the fleet file, or a catalogue name.", autocompletion=completion.models)],
    fleet: Annotated[Path, typer.Argument(help="The fleet file, or a plan (.json) made from it.")] = Path("fleet.yaml"),
    rate: Annotated[str, typer.Option("--rate", help="Requests per time, for example 2/s.")] = "1/s",
    input_tokens: Annotated[str, typer.Option("--input-tokens", help="Input tokens per request.")] = "500",
    output_tokens: Annotated[str | None, typer.Option("--output-tokens", help=OUTPUT_HELP)] = None,
    slo: Annotated[str | None, typer.Option("--slo", help=SLO_HELP)] = None,
    latency_class: Annotated[str, typer.Option("--class", help="Latency class: interactive, standard or background.")] = "standard",
    priority: Annotated[str | None, typer.Option("--priority", help="Priority; default: by class.")] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Give the new workload its own replicas, even if the model is served already.")
    ] = False,
    plan_of: Annotated[Path | None, typer.Option("--fleet", help=FLEET_HELP)] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the fleet file.")] = None,
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Print only the estimate, without running a solver.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Tell what one more workload would cost, where it would run, and which workloads would lose capacity.

    Exit code 2: not all of the new workload can be served.

    Example: ullage quote qwen3-8b fleet.yaml --rate 2/s --slo 500ms/50ms
    """
    from ullage.notebook.answers import newcomer_of, present_at, quote_answer

    newcomer = newcomer_of(
        model,
        rate=rate,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        slo=slo,
        latency_class=latency_class,
        priority=priority,
        isolate=isolate,
    )
    answer = quote_answer(present_at(fleet, plan_of, state), newcomer, only_estimate=only_estimate)
    typer.echo(json.dumps(answer.document(), sort_keys=True) if as_json else str(answer), nl=as_json)
    if answer.unserved_rps:
        raise ExitCode(NOT_SERVED)
