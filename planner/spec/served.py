"""From declared models to models of the fleet: architectures, defaults from them, and checks across fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from planner.plan.extra_args import refusal
from planner.plan.local_paths import is_local, plan_path
from planner.spec.declared_model import DEFAULT_MAX_MODEL_LEN, DeclaredModel
from planner.spec.embedding import embed_problems
from planner.spec.fleet import Adapter, EngineChoice, FleetPool, Model, Workload
from planner.spec.messages import Loc
from planner.spec.pools import Report
from profiles.catalogue import Catalogue, architecture_from_path
from profiles.engine_versions import MIG_BY_UUID, lacking, plan_reason
from profiles.memory.adapters import adapter_reason
from profiles.models import Architecture
from profiles.precision import quantization_reason

# Larger blocks than one node of eight GPUs are not planned.
DEFAULT_TENSOR_PARALLEL = (1, 2, 4, 8)


def resolve_models(declared: Mapping[str, DeclaredModel], catalogue: Catalogue, folder: Path, report: Report) -> tuple[Model, ...]:
    """The models without errors; everything else goes to report. folder is where local sources start from."""
    found: list[Model] = []
    for name, model in declared.items():
        if is_local(model.source) and local_config(model.source, folder).name != "config.json":
            # the engine is given the folder and reads the file of that name in it, whatever we read
            report(("models", name, "source"), f"{model.source}: engines read config.json; give the file that name, or name its folder")
            continue
        try:
            architecture = _architecture(name, model.source, catalogue, folder)
        except ValueError as error:
            report(("models", name, "source"), str(error))
            continue
        if model.task == "embed":
            architecture = architecture.pooled()
        elif architecture.pooling:
            report(("models", name, "task"), f"{architecture.name} makes embeddings or scores and writes no text; write task: embed")
            continue
        problems = [
            *_problems(model, architecture),
            *(embed_problems(model, architecture) if model.task == "embed" else ()),
            *_added_problems(model, folder),
            *_adapter_problems(name, declared, architecture, folder),
        ]
        for loc, message in problems:
            report(("models", name, *loc), message)
        if not problems:
            resolved = _model(name, model, architecture, _engine_model(model.source, catalogue, folder))
            found.append(
                resolved.model_copy(
                    update={"adapters": _adapters(model, folder), "choices": _choices(model, resolved), "extra_args": _added(model, folder)}
                )
            )
    return tuple(found)


def local_config(source: str, folder: Path) -> Path:
    """The config.json that a local source means."""
    path = folder / source
    return path if path.suffix == ".json" else path / "config.json"


def _architecture(name: str, source: str, catalogue: Catalogue, folder: Path) -> Architecture:
    if not is_local(source):
        return catalogue.model(source)
    found = architecture_from_path(local_config(source, folder))
    # a local model is called like its folder; that of the fleet file, and those around it, are called otherwise in every checkout
    own = PurePosixPath(_engine_model(source, catalogue, folder)).name
    return found if own not in {"", ".."} else replace(found, name=name)


def _engine_model(source: str, catalogue: Catalogue, folder: Path) -> str:
    if not is_local(source):
        return catalogue.model_id(source)
    path = PurePosixPath(source)
    return plan_path(str(path.parent if path.suffix == ".json" else path), folder)


def _splits(architecture: Architecture, size: int) -> bool:
    kv_heads = architecture.kv_heads
    return architecture.heads % size == 0 and (kv_heads % size == 0 or size % kv_heads == 0)


def _problems(declared: DeclaredModel, architecture: Architecture) -> Iterable[tuple[Loc, str]]:
    if declared.max_model_len is not None and declared.max_model_len > architecture.max_position:
        yield ("max_model_len",), f"{declared.max_model_len} tokens; {architecture.name} can do {architecture.max_position} at most"
    old = plan_reason(declared.engine_version)
    if old is not None:
        yield ("engine_version",), old
    reason = quantization_reason(architecture, declared.quantization)
    if reason is not None:
        yield ("quantization",), reason
    for index, size in enumerate(declared.tensor_parallel or ()):
        if not _splits(architecture, size):
            heads = f"{architecture.heads} heads and {architecture.kv_heads} KV heads"
            yield ("tensor_parallel", index), f"{size} does not divide the {heads} of {architecture.name}"
        elif size & (size - 1):
            yield ("tensor_parallel", index), f"{size} is not a power of two; blocks of GPUs are 1, 2, 4, 8, ..."


def _added_problems(declared: DeclaredModel, folder: Path) -> Iterable[tuple[Loc, str]]:
    for flag, value in declared.extra_args.items():
        refused = refusal(flag)
        if refused is not None:
            yield ("extra_args", flag), f"--{flag} {refused}"
        elif is_local(value) and not (folder / value).exists():
            yield ("extra_args", flag), f"{value}: there is no such file or folder beside the fleet file"


def _choices(declared: DeclaredModel, model: Model) -> tuple[EngineChoice, ...]:
    """Every combination that vLLM takes, but for the model's own settings; a step must hold a token of every request, or a whole prompt."""
    least_tokens = model.max_model_len if model.pooling else 1
    offered = declared.choices
    own = EngineChoice(
        max_num_seqs=model.max_num_seqs,
        max_num_batched_tokens=model.max_num_batched_tokens,
        kv_cache_dtype=model.kv_cache_dtype,
    )
    found = (
        EngineChoice(max_num_seqs=seqs, max_num_batched_tokens=tokens, kv_cache_dtype=dtype)
        for seqs in (own.max_num_seqs, *offered.max_num_seqs)
        for tokens in (own.max_num_batched_tokens, *offered.max_num_batched_tokens)
        for dtype in (own.kv_cache_dtype, *offered.kv_cache_dtype)
        if tokens >= max(seqs, least_tokens)
    )
    return tuple(choice for choice in dict.fromkeys(found) if choice != own)


def _added(declared: DeclaredModel, folder: Path) -> tuple[tuple[str, str], ...]:
    """Flags and values by flag; local paths as the plan has them."""
    values = {flag: plan_path(value, folder) if is_local(value) else value for flag, value in declared.extra_args.items()}
    return tuple(sorted(values.items()))


def _adapters(declared: DeclaredModel, folder: Path) -> tuple[Adapter, ...]:
    return tuple(
        Adapter(
            name=name,
            engine_source=plan_path(adapter.source, folder) if is_local(adapter.source) else adapter.source,
            rank=adapter.rank,
        )
        for name, adapter in sorted(declared.adapters.items())
    )


def _adapter_problems(
    name: str, declared: Mapping[str, DeclaredModel], architecture: Architecture, folder: Path
) -> Iterable[tuple[Loc, str]]:
    reason = adapter_reason(architecture)
    for adapter, source in ((adapter, declared_adapter.source) for adapter, declared_adapter in declared[name].adapters.items()):
        if is_local(source) and not (folder / source).is_dir():
            yield ("adapters", adapter, "source"), f"there is no folder {folder / source}; engines could not load it: correct the path"
        others = [other for other, model in declared.items() if other == adapter or (other != name and adapter in model.adapters)]
        if others:
            yield ("adapters", adapter), f"requests could mean model {others[0]} or one of its adapters; rename it"
        if reason:
            yield ("adapters", adapter), f"{architecture.name}: {reason}"


def _model(name: str, declared: DeclaredModel, architecture: Architecture, engine_model: str) -> Model:
    max_model_len = declared.max_model_len or min(DEFAULT_MAX_MODEL_LEN, architecture.max_position)
    sizes = declared.tensor_parallel or tuple(size for size in DEFAULT_TENSOR_PARALLEL if _splits(architecture, size))
    return Model(
        name=name,
        source=declared.source,
        engine_model=engine_model,
        architecture=architecture,
        dtype=declared.dtype or architecture.dtype,
        quantization=declared.quantization,
        kv_cache_dtype=declared.kv_cache_dtype,
        max_model_len=max_model_len,
        max_num_seqs=declared.max_num_seqs,
        max_num_seqs_stated="max_num_seqs" in declared.model_fields_set or bool(declared.choices.max_num_seqs),
        # a prompt that is pooled is read in one step
        max_num_batched_tokens=max(declared.max_num_batched_tokens, max_model_len if architecture.pooling else 1),
        stream_interval=declared.stream_interval,
        enforce_eager=declared.enforce_eager,
        tensor_parallel=tuple(sorted(set(sizes))),
        engine_version=declared.engine_version,
        revision=declared.revision,
    )


def check_blocks(models: Sequence[Model], pools: Sequence[FleetPool], report: Report) -> None:
    """Report models whose every tensor-parallel size is larger than the blocks of every pool."""
    allowed = {size for pool in pools for size in usable_blocks(pool)}
    for model in models:
        if allowed and not allowed & set(model.tensor_parallel):
            report(
                ("models", model.name, "tensor_parallel"),
                f"no pool has room for blocks of {_list(model.tensor_parallel)} GPUs; the pools allow {_list(sorted(allowed))}"
                f"{_links(pools)}",
            )


def check_mig(workloads: Sequence[Workload], pools: Sequence[FleetPool], report: Report) -> None:
    """Report models whose engines cannot run in MIG instances where a workload of theirs may use nothing else."""
    for workload in workloads:
        reason = lacking(workload.model.engine_version, MIG_BY_UUID)
        allowed = [pool for pool in pools if not workload.pin or pool.name in workload.pin]
        if reason is not None and allowed and all(pool.mig != "off" for pool in allowed):
            names = _list(pool.name for pool in allowed)
            report(
                ("models", workload.model.name, "engine_version"),
                f"{reason}: workload {workload.name} may use MIG instances only (pools: {names})",
            )


def usable_blocks(pool: FleetPool) -> tuple[int, ...]:
    """Tensor-parallel sizes a pool can run: blocks of several GPUs are always exclusive."""
    return pool.block_sizes if "exclusive" in pool.sharing else (1,)


def _links(pools: Iterable[FleetPool]) -> str:
    """What keeps blocks small beside the number of GPUs: pools whose links join pairs only."""
    return "".join(f"; pool {pool.name} has link: {pool.link}" for pool in pools if pool.link == "pairs")


def _list(items: Iterable[int | str]) -> str:
    return ", ".join(map(str, items))
