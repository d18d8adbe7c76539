"""fit: whether models fit together on one GPU, MIG slice or tensor-parallel block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ullage.cli import completion
from ullage.cli.exit_code import ExitCode
from ullage.cli.fleet_folder import FLEET_FOLDER_OPTION


class ModelUse(StrEnum):
    """What a model does; see models.NAME.task of a fleet file."""

    EMBED = "embed"
    GENERATE = "generate"


PerModel = TypeVar("PerModel")

if TYPE_CHECKING:
    from profiles.gpu_types import GpuType
    from profiles.memory.coexistence import ResidentEngine
    from profiles.memory.engine_constants import EngineConstants
    from profiles.models import Architecture
    from profiles.settings import EngineSettings

# Exit code of an answer: they do not fit.
NO_FIT = 2

MODELS_ARGUMENT = typer.Argument(
    help="Models of the catalogue, or folders with a config.json (weights from the safetensors files there). With --prompt-tokens: a plan.",
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
    "--prompt-tokens", min=1, help="Show what a prompt of this length would do to a plan; the argument is then a plan file."
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

    With --prompt-tokens: show whether one prompt fits the replicas of a plan, how long they read it, and which replicas it delays.
    Example: ullage fit llama-3.1-8b-instruct qwen3-8b --gpu h100 --max-model-len 16384
    """
    if prompt_tokens is not None:
        _prompt(models, prompt_tokens, store, fleet_folder, as_json)
        return
    settings = _settings(
        engine_version=engine_version,
        dtype=dtype,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tensor_parallel or tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel,
        max_num_batched_tokens=max_num_batched_tokens,
        enforce_eager=enforce_eager,
    )
    lengths, counts = _per_model(max_model_len, len(models), "--max-model-len"), _per_model(max_num_seqs, len(models), "--max-num-seqs")
    tasks = _per_model(task, len(models), "--task")
    asked = [AskedModel(*each, max_num_batched_tokens) for each in zip(models, tasks, lengths, counts, strict=True)]
    _together(asked, gpu, mig, settings, headroom_mib, (constants, store), as_json)


@dataclass(frozen=True, slots=True)
class AskedModel:
    """One model as it was asked about; None was left out."""

    name: str
    task: ModelUse | None
    max_model_len: int | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None


def _together(
    models: Sequence[AskedModel],
    gpu: str | None,
    mig: str | None,
    settings: EngineSettings,
    headroom_mib: int,
    evidence: tuple[Path | None, Path | None],
    as_json: bool,
) -> None:
    """Print whether models fit together on one GPU, and what would fit if they do not."""
    from profiles.catalogue import builtin
    from profiles.gpu_types import settings_on
    from profiles.memory.coexistence import fit as fit_of
    from profiles.memory.proposals import proposals
    from ullage.views.fit_text import fit_text

    if gpu is None:
        raise ValueError("give --gpu: the GPU type that the models should share (`ullage catalogue gpus` lists them)")
    gpu_type = builtin().gpu(gpu)
    slot = gpu_type.mig_profile(mig) if mig else None
    settings = settings_on(gpu_type, settings)
    held = _constants(*evidence, gpu_type, settings)
    engines = [_engine(asked, settings, held) for asked in models]
    answer = fit_of(engines, gpu_type, slot, headroom_mib)
    found = () if answer.fits else proposals(engines, gpu_type, slot, headroom_mib)
    document = {**asdict(answer), "proposals": [asdict(item) for item in found]}
    typer.echo(json.dumps(document, indent=2) if as_json else fit_text(answer, found), nl=as_json)
    if not answer.fits:
        raise ExitCode(NO_FIT)


def _prompt(models: Sequence[str], prompt_tokens: int, store: Path | None, fleet_folder: Path | None, as_json: bool) -> None:
    from ullage import local_files
    from ullage.checking import architectures_from
    from ullage.inputs import read_plan
    from ullage.planning.prompt import prompt_fits
    from ullage.profiling.imports import stored
    from ullage.views.prompt_text import prompt_text

    if len(models) != 1:
        raise ValueError(f"--prompt-tokens needs one plan file, but {len(models)} names are given")
    file = Path(models[0])
    plan, architecture = read_plan(file), architectures_from(local_files.fleet_folder(file, fleet_folder))
    found = prompt_fits(plan, prompt_tokens, stored(store), architecture)
    if as_json:
        typer.echo(json.dumps({"prompt_tokens": prompt_tokens, "replicas": [asdict(item) for item in found]}, indent=2))
    else:
        typer.echo(prompt_text(found, prompt_tokens, plan.desired.risk.attainment_fraction), nl=False)
    if not any(item.fits for item in found):
        raise ExitCode(NO_FIT)


def _settings(**given: Any) -> EngineSettings:  # noqa: ANN401 -- the fields of EngineSettings
    """Settings with what was given; None is not given."""
    from profiles.settings import EngineSettings

    # Asynchronous scheduling is on by default where the executor can; windows must then hold two steps.
    return EngineSettings(async_scheduling=True, **{field: value for field, value in given.items() if value is not None})


def _per_model(values: list[PerModel] | None, count: int, option: str) -> list[PerModel | None]:
    """One value per model: none, the same for all, or each its own."""
    if not values:
        return [None] * count
    if len(values) not in {1, count}:
        raise ValueError(f"{option} is given {len(values)} times for {count} models; give it once, or once per model in their order")
    return [*values] * (count if len(values) == 1 else 1)


def _constants(path: Path | None, store: Path | None, gpu: GpuType, settings: EngineSettings) -> EngineConstants | None:
    """From a file, or from the starts of a store; None: those shipped."""
    if path is not None and store is not None:
        raise ValueError("--constants and --store contradict each other: both say how much memory an engine takes; give one of them")
    if path is None:
        from profiles.memory.measured import measured_constants
        from ullage.profiling.imports import stored

        found = measured_constants(stored(store), gpu, settings)
        return found.constants if found is not None else None
    from profiles.memory.engine_constants import read_constants
    from ullage.inputs import read_bytes

    return read_constants(str(path), read_bytes(path, "`ullage profile calibrate` writes such a file").decode("utf-8", errors="replace"))


def _engine(asked: AskedModel, settings: EngineSettings, constants: EngineConstants | None) -> ResidentEngine:
    from dataclasses import replace

    from profiles.catalogue import architecture_from_path, builtin
    from profiles.memory.coexistence import ResidentEngine

    folder = Path(asked.name)
    local = folder.is_dir() or folder.suffix == ".json"
    architecture = architecture_from_path(folder) if local else builtin().model(asked.name)
    if asked.task == ModelUse.EMBED:
        architecture = architecture.pooled()
    elif asked.task == ModelUse.GENERATE and architecture.pooling:
        raise ValueError(f"{asked.name} makes embeddings or scores and writes no text; leave --task out, or give --task embed")
    longest = min(settings.max_model_len, architecture.max_position) if asked.max_model_len is None else asked.max_model_len
    # a prompt that is embedded is read in one step
    step_tokens = longest if architecture.pooling and asked.max_num_batched_tokens is None else 0
    own = replace(
        settings,
        max_model_len=longest,
        max_num_seqs=min(settings.max_num_seqs, settings.max_num_batched_tokens) if asked.max_num_seqs is None else asked.max_num_seqs,
        max_num_batched_tokens=max(settings.max_num_batched_tokens, step_tokens),
    )
    checkpoint_bytes = _checkpoint_bytes(folder, architecture, own) if folder.is_dir() else None
    name = asked.name if local else builtin().model_id(asked.name)
    return ResidentEngine(name, architecture, own, constants, checkpoint_bytes, asked.max_num_seqs is None)


def _checkpoint_bytes(folder: Path, architecture: Architecture, settings: EngineSettings) -> float | None:
    """Weights in a folder's safetensors files as an engine loads them; None without such files. Reads their headers only."""
    from profiles.checkpoints.safetensors import PREFIX_BYTES, Tensor, header_length, loaded_bytes, tensors

    found: list[Tensor] = []
    for path in sorted(folder.glob("*.safetensors")):
        if not path.is_file():
            raise ValueError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            length = header_length(str(path), file.read(PREFIX_BYTES))
            found += tensors(str(path), file.read(length))
    return loaded_bytes(found, architecture, settings) if found else None
