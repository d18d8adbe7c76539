"""fit: whether models fit together on one GPU, MIG slice or tensor-parallel block, and where a long prompt fits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION
from ullage.model_use import ModelUse

if TYPE_CHECKING:
    from ullage.model_fit import FitAnswer
    from ullage.prompt_fit import PromptAnswer

# Exit code of an answer: they do not fit.
NO_FIT = 2

MODELS_ARGUMENT = typer.Argument(
    help="Models of the catalogue, or folders with a config.json (weights from the safetensors files there). "
    "With --prompt-tokens: a plan, or one model.",
    autocompletion=completion.models,
)
LENGTH_OPTION = typer.Option("--max-model-len", help="Longest request in tokens: once for all models, or once per model in order.")
TASK_OPTION = typer.Option(
    "--task", help="generate or embed (one vector or score per prompt): once for all models, or once per model in order."
)
SEQUENCES_OPTION = typer.Option(
    "--max-num-seqs", help="Sequences that run at the same time: once for all models, or once per model in order."
)
STORE_OPTION = typer.Option(
    "--store", help="Folder of measurements: take the constants from measured starts of this version, GPU type and size."
)
GPU_OPTION = typer.Option("--gpu", autocompletion=completion.gpu_types, help="GPU type, for example H100.")
PROMPT_OPTION = typer.Option(
    "--prompt-tokens", min=1, help="Show what a prompt of this length would do to a plan, or which GPU types hold it with a model."
)
CONSTANTS_OPTION = typer.Option(
    "--constants", help="File with engine constants from `ullage profile calibrate`, instead of the shipped ones."
)


def register(app: typer.Typer) -> None:
    """Add the verb to the command tree."""
    app.command()(fit)


def fit(
    models: Annotated[list[str], MODELS_ARGUMENT],
    gpu: Annotated[str | None, GPU_OPTION] = None,
    max_model_len: Annotated[list[int] | None, LENGTH_OPTION] = None,
    max_num_seqs: Annotated[list[int] | None, SEQUENCES_OPTION] = None,
    task: Annotated[list[ModelUse] | None, TASK_OPTION] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", min=1, help="Largest number of tokens per step.")
    ] = None,
    mig: Annotated[str | None, typer.Option("--mig", help="MIG profile, for example 3g.40gb.")] = None,
    tensor_parallel_size: Annotated[int, typer.Option("--tensor-parallel-size", min=1, help="GPUs that each layer is divided over.")] = 1,
    tensor_parallel: Annotated[int | None, typer.Option("--tensor-parallel", min=1, hidden=True)] = None,
    pipeline_parallel: Annotated[
        int, typer.Option("--pipeline-parallel", min=1, help="Pipeline stages that the layers are divided over.")
    ] = 1,
    dtype: Annotated[str, typer.Option("--dtype", help="Element type of unquantised weights and activations.")] = "auto",
    quantization: Annotated[str | None, typer.Option("--quantization", help="Weight format; default: the checkpoint's own.")] = None,
    kv_cache_dtype: Annotated[str, typer.Option("--kv-cache-dtype", help="Element type of the KV cache.")] = "auto",
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="Run without CUDA graphs.")] = False,
    engine_version: Annotated[str | None, typer.Option("--engine-version", help="vLLM version; default: the newest known.")] = None,
    headroom_mib: Annotated[int, typer.Option("--headroom-mib", min=0, help="Memory that stays free.")] = 1024,
    constants: Annotated[Path | None, CONSTANTS_OPTION] = None,
    store: Annotated[Path | None, STORE_OPTION] = None,
    prompt_tokens: Annotated[int | None, PROMPT_OPTION] = None,
    fleet_folder: Annotated[Path | None, FLEET_FOLDER_OPTION] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Show whether models fit together on one GPU: memory ledger, free memory, largest limits, flags. Exit code 2: they do not fit.

    With --prompt-tokens and a plan: show whether one prompt fits its replicas, how long they read it, and which replicas it delays.
    With --prompt-tokens and a model: show on how many GPUs of each type the prompt fits, its KV cache, and how long it is read.
    Example: ullage fit llama-3.1-8b-instruct qwen3-8b --gpu h100 --max-model-len 16384
    """
    engine: dict[str, Any] = {
        "dtype": dtype,
        "quantization": quantization,
        "kv_cache_dtype": kv_cache_dtype,
        "enforce_eager": enforce_eager,
    }
    engine |= {"engine_version": engine_version, "max_num_batched_tokens": max_num_batched_tokens}
    options: dict[str, Any] = {**engine, "gpu": gpu, "mig": mig, "headroom_mib": headroom_mib, "constants": constants, "store": store}
    limits: dict[str, Any] = {"max_model_len": max_model_len, "max_num_seqs": max_num_seqs, "task": task}
    size = tensor_parallel or tensor_parallel_size
    if prompt_tokens is None:
        from ullage.model_fit import fit_models

        _print(fit_models(models, tensor_parallel_size=size, pipeline_parallel_size=pipeline_parallel, **limits, **options), as_json)
    elif _is_plan(name := _asked_about(models)):
        _prompt(Path(name), prompt_tokens, store, fleet_folder, as_json)
    else:
        _model_prompt(name, prompt_tokens, max(size, pipeline_parallel), limits, options, as_json)


def _model_prompt(model: str, prompt_tokens: int, size: int, limits: Mapping[str, Any], options: Mapping[str, Any], as_json: bool) -> None:
    from ullage.prompt_fit import fit_prompt

    if size > 1:
        raise ValueError("--prompt-tokens finds the tensor-parallel size by itself; leave the sizes out")
    once: dict[str, Any] = {name: _once(values, name) for name, values in limits.items()}
    _print(fit_prompt(model, prompt_tokens, **once, **options), as_json)


def _asked_about(models: Sequence[str]) -> str:
    """The plan or model that a prompt is asked about."""
    if len(models) != 1:
        raise ValueError(f"--prompt-tokens needs one plan file, but {len(models)} names are given")
    return models[0]


def _is_plan(name: str) -> bool:
    """A file is a plan; so is a name that ends like one, to say that there is no such file."""
    path = Path(name)
    return path.is_file() or (path.suffix == ".json" and not path.exists())


def _prompt(file: Path, prompt_tokens: int, store: Path | None, fleet_folder: Path | None, as_json: bool) -> None:
    from ullage import local_files
    from ullage.checking import architectures_from
    from ullage.inputs import read_plan
    from ullage.planning.prompt import prompt_fits
    from ullage.profiling.imports import stored
    from ullage.views.prompt_text import prompt_text

    plan, architecture = read_plan(file), architectures_from(local_files.fleet_folder(file, fleet_folder))
    found = prompt_fits(plan, prompt_tokens, stored(store), architecture)
    if as_json:
        typer.echo(json.dumps({"prompt_tokens": prompt_tokens, "replicas": [asdict(item) for item in found]}, indent=2))
    else:
        typer.echo(prompt_text(found, prompt_tokens, plan.desired.risk.attainment_fraction), nl=False)
    if not any(item.fits for item in found):
        raise ExitCode(NO_FIT)


def _print(answer: FitAnswer | PromptAnswer, as_json: bool) -> None:
    typer.echo(json.dumps(answer.document(), indent=2) if as_json else str(answer), nl=as_json)
    if not answer.fits:
        raise ExitCode(NO_FIT)


def _once(values: Sequence[object] | None, name: str) -> object:
    """The value for the only model."""
    if values is not None and len(values) > 1:
        raise ValueError(f"--{name.replace('_', '-')} is given {len(values)} times for 1 model; give it once")
    return values[0] if values else None
