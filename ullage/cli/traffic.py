"""simulate and replay: test a plan with the requests of a trace, in virtual time or live."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.simulation.traffic_metrics import GpuUse, Summary
    from ullage.traffic.plan_traffic import TraceUse

PLAN_ARGUMENT = typer.Argument(help="A plan file.")
TRACE_OPTION = typer.Option("--trace", help="Trace: csv, csv.gz or parquet with arrival_s, input_tokens, output_tokens, tenant.")
START_OPTION = typer.Option("--start", min=0.0, help="Second of the trace at which to start; default: where it is busiest.")
REPEAT_OPTION = typer.Option("--repeat-rate", min=1, max=10_000, help="Send every request this many times, evenly shifted.")
MAP_OPTION = typer.Option("--map", help="TENANT=WORKLOAD, if their names differ; may be repeated.")
SECONDS_HELP = "Length of the part of the trace that is used; default: the whole trace, without one 600."
SCALE_HELP = "Declared demand of a workload or model times a factor, on the plan as it is: who keeps its goals? Can be repeated."
SLOW_HELP = "Every step takes the quantile of its spread that the plan was made for (risk.step_quantile, 90th percentile by default)."
INTERFERENCE_HELP = "Slow down active neighbours on shared GPUs by this factor, in addition to their equal share."
DECLARED_HELP = (
    "Trace: csv, csv.gz or parquet with arrival_s, input_tokens, output_tokens, tenant. "
    "Default: requests at the declared rates, in each of the plan's windows."
)
JSON_OPTION = typer.Option("--json", help="Print one JSON object instead of tables.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command tree."""
    app.command()(simulate)
    app.command()(replay)


def simulate(
    plan: Annotated[Path, PLAN_ARGUMENT],
    trace: Annotated[Path | None, typer.Option("--trace", help=DECLARED_HELP)] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1.0, help=SECONDS_HELP)] = None,
    start: Annotated[float | None, START_OPTION] = None,
    repeat_rate: Annotated[int, REPEAT_OPTION] = 1,
    tenant_map: Annotated[list[str] | None, MAP_OPTION] = None,
    scale: Annotated[list[str] | None, typer.Option("--scale", metavar="NAME=FACTOR", help=SCALE_HELP)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random step times, and of declared requests.")] = 0,
    interference: Annotated[float, typer.Option("--interference", min=1.0, max=100.0, help=INTERFERENCE_HELP)] = 1.0,
    store: Annotated[Path | None, typer.Option("--store", help="Correct step times by the measurements in this folder.")] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
    slow: Annotated[bool, typer.Option("--slow", help=SLOW_HELP)] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Simulate the requests of a trace, or the declared demand, on a plan, in virtual time. The same input gives the same result.

    Example: ullage simulate plan.json --trace trace.csv.gz --seconds 45
    """
    from ullage import local_files
    from ullage.checking import architectures_from
    from ullage.cli.planning import factors_of
    from ullage.inputs import read_plan
    from ullage.profiling.imports import stored
    from ullage.traffic.emulated import store_warning
    from ullage.traffic.plan_traffic import plan_requests
    from ullage.traffic.simulate import simulated

    use = replace(_trace_use(seconds, start, repeat_rate, tenant_map or []), scale=factors_of(scale or ()))
    document = read_plan(plan)
    requests = plan_requests(document, trace, use, seed)
    quantile, measurements = document.desired.risk.step_quantile if slow else None, stored(store)
    if (warning := store_warning(document, measurements)) is not None:
        typer.echo(f"warning: {warning}", err=True)
    found = simulated(
        document,
        requests,
        seed=seed,
        interference_factor=interference,
        step_quantile=quantile,
        measurements=measurements,
        architecture=architectures_from(local_files.fleet_folder(plan, fleet_folder)),
    )
    _print(found.summary, found.gpus, as_json)


def replay(
    plan: Annotated[Path, PLAN_ARGUMENT],
    trace: Annotated[Path, TRACE_OPTION],
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Length of the part of the trace that is used.")] = 60.0,
    start: Annotated[float | None, START_OPTION] = None,
    repeat_rate: Annotated[int, REPEAT_OPTION] = 1,
    tenant_map: Annotated[list[str] | None, MAP_OPTION] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State folder; default .ullage beside the plan.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Send the requests of a trace to the running router, and measure what clients see. Requests in flight at the end finish.

    Example: ullage replay plan.json --trace trace.csv.gz --seconds 45 --repeat-rate 14
    """
    from ullage.inputs import read_plan, state_folder
    from ullage.traffic.plan_traffic import trace_requests
    from ullage.traffic.replayed import replay_plan
    from ullage.views.progress import replay_progress

    use = _trace_use(seconds, start, repeat_rate, tenant_map or [])
    document = read_plan(plan)
    requests, length_s = trace_requests(document, trace, use)
    with replay_progress() as on_progress:
        summary, gpus = replay_plan(document, requests, length_s, state_folder(plan, state), on_progress)
    _print(summary, gpus, as_json)


def _trace_use(seconds: float | None, start_s: float | None, repeat_rate: int, pairs: list[str]) -> TraceUse:
    from ullage.traffic.plan_traffic import TraceUse

    return TraceUse(seconds, start_s, repeat_rate, dict(_pair(text) for text in pairs))


def _pair(text: str) -> tuple[str, str]:
    tenant, found, workload = text.partition("=")
    if not found:
        raise ValueError(f"--map {text}: write TENANT=WORKLOAD")
    return tenant, workload


def _print(summary: Summary, gpus: Sequence[GpuUse], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "gpus": [asdict(gpu) for gpu in gpus]}, sort_keys=True))
        return
    from ullage.views.traffic_text import traffic_text

    typer.echo(traffic_text(summary, gpus), nl=False)
