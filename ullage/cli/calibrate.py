"""profile calibrate: fit the engine constants of the memory model again, from starts of one engine version."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli import completion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from profiles.memory.calibration import Calibration, LoggedStart
    from profiles.sources.source import Context, Source

LOG_OPTION = typer.Option("--log", help="Start-up log of vLLM, also gzip; may be repeated.")
METRICS_OPTION = typer.Option("--metrics", help="Saved /metrics page of a running vLLM server; may be repeated.")
PLAN_OPTION = typer.Option("--startup-plan", help="startup_plan_*.json of vLLM; may be repeated.")
UTILIZATION_OPTION = typer.Option("--gpu-memory-utilization", min=0.01, max=1.0, help="The engine's value, if the files do not state it.")
OUTPUT_OPTION = typer.Option("-o", "--output", help="File for the fitted constants (YAML); default: standard output.")


def calibrate(
    gpu: Annotated[
        str, typer.Option("--gpu", autocompletion=completion.gpu_types, help="GPU type of the starts: a catalogue name or alias.")
    ],
    log: Annotated[list[Path] | None, LOG_OPTION] = None,
    metrics: Annotated[list[Path] | None, METRICS_OPTION] = None,
    startup_plan: Annotated[list[Path] | None, PLAN_OPTION] = None,
    model: Annotated[
        str | None, typer.Option("--model", autocompletion=completion.models, help="Model; replaces the name in the files.")
    ] = None,
    engine_version: Annotated[str | None, typer.Option("--engine-version", help="vLLM version, if the files do not state it.")] = None,
    gpu_memory_utilization: Annotated[float | None, UTILIZATION_OPTION] = None,
    output: Annotated[Path | None, OUTPUT_OPTION] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Fit the memory that an engine takes beside weights and KV cache, from logged starts of one vLLM version.

    `ullage fit --constants FILE` uses the result. Example: ullage profile calibrate --log start.log --gpu h100 -o constants.yaml
    """
    from profiles.memory.calibration import calibrated
    from profiles.memory.engine_constants import constants_text
    from profiles.sources import engine_metrics, vllm_log
    from profiles.sources import startup_plan as startup_plans
    from profiles.sources.source import Context
    from ullage.inputs import write_text

    context = Context(model=model, gpu=gpu, engine_version=engine_version)
    asked = ((vllm_log.SOURCE, log), (engine_metrics.SOURCE, metrics), (startup_plans.SOURCE, startup_plan))
    starts = [start for source, files in asked for path in files or () for start in _starts(source, path, context, gpu_memory_utilization)]
    if not starts:
        raise ValueError("nothing to fit: give --log, --metrics or --startup-plan")
    found = calibrated(starts)
    text = constants_text(found.constants)
    if output is not None:
        write_text(output, text)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(_summary(found), err=output is None)
    if output is None:
        typer.echo(text, nl=False)


def _starts(source: Source, path: Path, context: Context, utilization: float | None) -> Iterator[LoggedStart]:
    from dataclasses import replace

    from profiles.catalogue import builtin
    from profiles.memory.calibration import LoggedStart
    from ullage.checking import architecture_of
    from ullage.inputs import read_bytes

    raw = read_bytes(path, "give a file of a vLLM start")
    found = source.parse(str(path), raw, context).starts
    _tell_failure(source, path, raw)
    for point in found:
        settled = point if utilization is None else replace(point, gpu_memory_utilization_fraction=utilization)
        yield LoggedStart(
            architecture_of(point.model), builtin().gpu(point.gpu), settled if point.gpu_memory_utilization_fraction is None else point
        )


def _tell_failure(source: Source, path: Path, raw: bytes) -> None:
    """Warn when a logged start failed, with the cause. What it logged before the failure still counts."""
    from profiles.sources import vllm_log
    from profiles.sources.reading import text_of

    if source is not vllm_log.SOURCE:
        return
    failure = vllm_log.read_log(text_of(str(path), raw)).failure
    if failure is not None:
        typer.echo(
            f"warning: {path}: line {failure.line}: the start failed ({failure.cause.name}): {failure.text}; {failure.cause.advice}. "
            "Values that were logged before the failure still count.",
            err=True,
        )


def _summary(found: Calibration) -> str:
    lines = [f"{found.starts} starts of {found.constants.engine} {found.constants.from_version}; fitted: {', '.join(found.changed)}"]
    if found.error_before_fraction is not None and found.error_after_fraction is not None:
        lines.append(
            f"KV pool, mean error: {found.error_before_fraction:.2%} before, {found.error_after_fraction:.2%} with the fitted constants"
        )
    return "\n".join(lines)
