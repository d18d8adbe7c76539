"""quote: what one more workload would add to a fleet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode

if TYPE_CHECKING:
    from ullage.planning.quote import Present

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
    from ullage.planning.joining import Newcomer
    from ullage.planning.quote import full_quote, quick_quote
    from ullage.views.quote_text import estimate_line, quote_text

    workload: dict[str, Any] = {
        "class": latency_class,
        "demand": {"rate": rate, "input_tokens": input_tokens},
    }
    if output_tokens is not None:
        workload["demand"]["output_tokens"] = output_tokens
    if slo is not None:
        workload["slo"] = _goals(slo)
    if priority is not None:
        workload["priority"] = priority
    if isolate:
        workload["isolate"] = "true"
    newcomer, present = Newcomer(model, workload), _present(fleet, plan_of, state)
    if only_estimate:
        first = quick_quote(present, newcomer)
        typer.echo(json.dumps(asdict(first), sort_keys=True) if as_json else estimate_line(first))
        return
    found = full_quote(present, newcomer)
    typer.echo(json.dumps(asdict(found), sort_keys=True) if as_json else quote_text(found), nl=as_json)
    if found.unserved_rps:
        raise ExitCode(NOT_SERVED)


def _present(file: Path, plan_of: Path | None, state: Path | None) -> Present:
    """What the newcomer comes to: a plan as reviewed, or a fleet file planned against what runs."""
    from ullage.inputs import read_state, state_folder
    from ullage.planning.quote import present_of_fleet, present_of_plan

    if file.suffix == ".json":
        if state is not None:
            raise ValueError(f"--state {state}: {file} is a plan and says itself what runs; leave --state out")
        return present_of_plan(file, plan_of)
    if plan_of is not None:
        raise ValueError(f"--fleet {plan_of}: only with a plan (.json) in place of {file}")
    return present_of_fleet(file, read_state(state_folder(file, state)))


def _goals(text: str) -> dict[str, str]:
    """TTFT and TPOT of --slo, or only TTFT, as the fleet file says them."""
    ttft, slash, tpot = text.partition("/")
    if not ttft.strip() or bool(slash) != bool(tpot.strip()):
        raise ValueError(f"--slo {text}: write TTFT/TPOT, for example 500ms/50ms, or only TTFT, for example 500ms")
    return {"ttft_p95": ttft.strip(), **({"tpot_p95": tpot.strip()} if slash else {})}
