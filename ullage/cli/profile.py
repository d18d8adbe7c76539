"""profile: measurements of engines, in a folder that is kept in git."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from ullage.cli import completion
from ullage.cli.calibrate import calibrate
from ullage.cli.exit_code import ExitCode
from ullage.cli.measure import measure

HELP = """Keep measurements of engines, and estimate what was not measured.

Example: ullage profile import bench.json --gpu h100
"""
STORE = Path("measurements")
STORE_OPTION = typer.Option("--store", help="The folder that holds the measurements.", show_default=True)
JSON_OPTION = typer.Option("--json", help="Print one JSON object instead of text.")
GPU_OPTION = typer.Option("--gpu", autocompletion=completion.gpu_types, help="GPU type: a catalogue name or alias.")


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command tree."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
    group.command("import")(import_)
    group.command("list")(list_)
    group.command()(show)
    group.command()(check)
    group.command()(export)
    group.command()(estimate)
    group.command()(calibrate)
    group.command()(measure)
    app.add_typer(group, name="profile")


def import_(
    files: Annotated[list[Path], typer.Argument(help="Benchmark results, logs, saved /metrics pages or tables.")],
    store: Annotated[Path, STORE_OPTION] = STORE,
    kind: Annotated[
        str | None,
        typer.Option("--kind", autocompletion=completion.sources, help="Kind of the files; default: recognised by their content."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", autocompletion=completion.models, help="Model; replaces the name in the files.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", autocompletion=completion.gpu_types, help="GPU type; replaces the one in the files.")
    ] = None,
    mig_profile: Annotated[str | None, typer.Option("--mig-profile", help="MIG profile that the engine ran on.")] = None,
    tensor_parallel_size: Annotated[int | None, typer.Option("--tensor-parallel-size", min=1, help="GPUs per layer.")] = None,
    pipeline_parallel_size: Annotated[int | None, typer.Option("--pipeline-parallel-size", min=1, help="Pipeline stages.")] = None,
    quantization: Annotated[str | None, typer.Option("--quantization", help="Weight quantisation; default the checkpoint's own.")] = None,
    kv_cache_dtype: Annotated[str | None, typer.Option("--kv-cache-dtype", help="Type of the KV cache.")] = None,
    input_tokens: Annotated[int | None, typer.Option("--input-tokens", min=1, help="Mean prompt length.")] = None,
    output_tokens: Annotated[int | None, typer.Option("--output-tokens", min=1, help="Mean answer length.")] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Number of clients, or the batch size.")] = None,
    date: Annotated[str | None, typer.Option("--date", help="Day of the measurement, YYYY-MM-DD.")] = None,
    engine_version: Annotated[str | None, typer.Option("--engine-version", help="Version of the engine.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Add measurements to the store. If one file is wrong, nothing is added.

    Options add what the files do not state. Example: ullage profile import bench.json --gpu h100 --engine-version 0.32.0
    """
    from profiles.sources.source import Context
    from ullage.profiling.imports import import_files
    from ullage.views.profile_text import import_json, import_text

    context = Context(
        model=model,
        gpu=gpu,
        mig_profile=mig_profile,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        date=date,
        engine_version=engine_version,
    )
    done = import_files(files, store, context, kind)
    typer.echo(json.dumps(import_json(done), sort_keys=True) if as_json else import_text(done), nl=as_json)


def list_(store: Annotated[Path, STORE_OPTION] = STORE, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the models, GPUs, engine versions and numbers of points in the store.

    Example: ullage profile list
    """
    from profiles.store.store_folder import read_store
    from ullage.views.profile_text import groups, list_text

    found = read_store(store)
    typer.echo(json.dumps({"groups": groups(found)}, sort_keys=True) if as_json else list_text(found), nl=as_json)


def show(
    model: Annotated[str, typer.Argument(help="Model: the name in the store, or a catalogue alias.")],
    gpu: Annotated[str | None, GPU_OPTION] = None,
    store: Annotated[Path, STORE_OPTION] = STORE,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show every point of a model with its provenance.

    Example: ullage profile show llama-3.1-8b --gpu h100
    """
    from profiles.store.store_folder import read_store
    from ullage.profiling.imports import of_model
    from ullage.views.profile_text import as_json as to_json
    from ullage.views.profile_text import show_text

    found = of_model(read_store(store), model, gpu)
    if not found:
        raise ValueError(f"{store}: nothing about {model}{f' on {gpu}' if gpu else ''}; `ullage profile list` names what there is")
    typer.echo(json.dumps(to_json(found), sort_keys=True) if as_json else show_text(found), nl=as_json)


def check(store: Annotated[Path, STORE_OPTION] = STORE, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Find measurements that contradict each other or the data sheets; exit code 1 when one cannot be true.

    Example: ullage profile check --store measurements
    """
    from profiles.catalogue import builtin
    from profiles.store.canonical import canonical
    from profiles.store.checks import check as findings_of
    from profiles.store.store_folder import read_store
    from ullage.views.profile_text import counts

    found = canonical(read_store(store), builtin())
    findings = findings_of(found, builtin())
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, sort_keys=True))
    else:
        typer.echo("\n".join([*map(str, findings), f"{store}: {counts(found)}, {len(findings)} findings"]))
    if any(finding.level == "error" for finding in findings):
        raise ExitCode(1)


def export(
    store: Annotated[Path, STORE_OPTION] = STORE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file; default: standard output.")] = None,
    model: Annotated[str | None, typer.Option("--model", autocompletion=completion.models, help="Only this model.")] = None,
    gpu: Annotated[str | None, GPU_OPTION] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write all points as one JSON object; default: latency points as CSV.")] = False,
) -> None:
    """Write measurements to a file that other tools and `profile import` can read.

    Example: ullage profile export --gpu h100 -o h100.csv
    """
    from profiles.store.store_folder import read_store
    from ullage.inputs import check_target, write_text
    from ullage.profiling.imports import of_model
    from ullage.views.profile_text import as_json as to_json
    from ullage.views.profile_text import counts, latency_csv

    found = of_model(read_store(store), model, gpu)
    text = json.dumps(to_json(found), sort_keys=True, indent=1) + "\n" if as_json else latency_csv(found.latency)
    left_out = replace(found, latency=())
    if left_out and not as_json:
        typer.echo(f"not in the CSV: {counts(left_out)}; --json has them", err=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    check_target(out)
    write_text(out, text)
    typer.echo(f"wrote {out}")


def estimate(
    model: Annotated[str, typer.Argument(help="Model: a catalogue name or alias.", autocompletion=completion.models)],
    gpu: Annotated[str, GPU_OPTION],
    mig_profile: Annotated[str | None, typer.Option("--mig-profile", help="MIG profile, for one slice of the GPU.")] = None,
    tensor_parallel_size: Annotated[int, typer.Option("--tensor-parallel-size", min=1, help="GPUs per layer.")] = 1,
    quantization: Annotated[str | None, typer.Option("--quantization", help="Weight quantisation; default the checkpoint's own.")] = None,
    kv_cache_dtype: Annotated[str, typer.Option("--kv-cache-dtype", help="Type of the KV cache.")] = "auto",
    max_num_batched_tokens: Annotated[
        int, typer.Option("--max-num-batched-tokens", min=1, help="Largest number of tokens in one step.")
    ] = 2048,
    input_tokens: Annotated[int, typer.Option("--input-tokens", min=1, help="Prompt length.")] = 1024,
    output_tokens: Annotated[int, typer.Option("--output-tokens", min=1, help="Answer length.")] = 128,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Number of requests that decode together; may be repeated.")
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Correct the estimate by the measurements in this folder.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Estimate TTFT and TPOT of a model on a GPU without a measurement, with the band of the error.

    Example: ullage profile estimate llama-3.1-8b --gpu h100 --batch 1 --batch 32
    """
    from profiles.catalogue import builtin
    from profiles.settings import EngineSettings
    from ullage.profiling.estimate import estimate as estimated
    from ullage.profiling.imports import stored
    from ullage.views.estimate_text import estimate_text

    batches = sorted(set(batch or (1, 8, 32, 128)))
    settings = EngineSettings(
        dtype=builtin().model(model).dtype,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tensor_parallel_size,
        max_model_len=input_tokens + output_tokens,
        max_num_seqs=batches[-1],
        max_num_batched_tokens=max_num_batched_tokens,
    )
    found = estimated(model, gpu, mig_profile, settings, input_tokens, output_tokens, batches, stored(store))
    typer.echo(json.dumps(asdict(found), sort_keys=True) if as_json else estimate_text(found), nl=as_json)
