"""Whether models live together on one GPU, MIG slice or tensor-parallel block: from names and options to an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from profiles.catalogue import architecture_from_path, builtin
from profiles.checkpoints.safetensors import PREFIX_BYTES, Tensor, header_length, loaded_bytes, tensors
from profiles.gpu_types import GpuType, settings_on
from profiles.memory.coexistence import Fit, Resident, ResidentEngine, fit
from profiles.memory.engine_constants import EngineConstants, read_constants
from profiles.memory.measured import measured_constants
from profiles.memory.proposals import Proposal, proposals
from profiles.models import Architecture
from profiles.settings import EngineSettings
from ullage.inputs import read_bytes
from ullage.model_use import ModelUse
from ullage.notebook.escaped import table_html, text_html
from ullage.notebook.frames import frame
from ullage.profiling.imports import stored
from ullage.views.fit_text import fit_text
from ullage.views.tables.ledger_table import LEDGER_COLUMNS, ledger_rows

if TYPE_CHECKING:
    import pandas as pd

PerModel = TypeVar("PerModel")

DEFAULT_HEADROOM_MIB = 1024


@dataclass(frozen=True, slots=True)
class AskedModel:
    """One model as it was asked about; None was left out."""

    name: str
    task: ModelUse | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class FitAnswer:
    """Whether the models fit, each with its ledger and limits; proposals say what would fit where they do not."""

    fit: Fit
    proposals: tuple[Proposal, ...]

    @property
    def fits(self) -> bool:
        """Whether they live together."""
        return self.fit.fits

    @property
    def residents(self) -> tuple[Resident, ...]:
        """The models in the order asked, with ledger, KV pool, largest limits and flags."""
        return self.fit.residents

    def document(self) -> dict[str, Any]:
        """The answer as `ullage fit --json` prints it."""
        return {**asdict(self.fit), "proposals": [asdict(item) for item in self.proposals]}

    def to_frame(self) -> pd.DataFrame:
        """The ledger lines of all models; columns in ullage.views.tables.ledger_table. Raises ImportError without pandas."""
        return frame(ledger_rows(self.fit), LEDGER_COLUMNS)

    def __str__(self) -> str:
        """The text that `ullage fit` prints."""
        return fit_text(self.fit, self.proposals)

    def __repr__(self) -> str:
        """Its first line."""
        return f"<FitAnswer: {str(self).partition(chr(10))[0]}>"

    def _repr_html_(self) -> str:
        return text_html(str(self)) + table_html("Memory per GPU", ledger_rows(self.fit), LEDGER_COLUMNS)


def _names(models: str | Sequence[str]) -> list[str]:
    if not models:
        raise ValueError("there are no models; give at least one (`ullage catalogue models` lists them)")
    return [models] if isinstance(models, str) else list(models)


def fit_models(  # noqa: PLR0913 -- the options of `ullage fit`
    models: str | Sequence[str],
    *,
    gpu: str | None,
    mig: str | None = None,
    max_model_len: int | Sequence[int] | None = None,
    max_num_seqs: int | Sequence[int] | None = None,
    task: str | Sequence[str] | None = None,
    max_num_batched_tokens: int | None = None,
    tensor_parallel_size: int = 1,
    pipeline_parallel_size: int = 1,
    dtype: str = "auto",
    quantization: str | None = None,
    kv_cache_dtype: str = "auto",
    enforce_eager: bool = False,
    engine_version: str | None = None,
    headroom_mib: int = DEFAULT_HEADROOM_MIB,
    constants: str | Path | None = None,
    store: str | Path | None = None,
) -> FitAnswer:
    """Whether models (catalogue names, or folders with a config.json) live together on one GPU, and what would fit if they do not.

    max_model_len, max_num_seqs and task ("generate" or "embed") are given once for all models, or once per model in order. None leaves the
    default: 8192 tokens, 256 sequences, the model's own task, and the newest known engine version. headroom_mib stays free. constants is a
    file of engine constants, store a folder of measured starts; both say how much memory an engine takes, so only one may be given.
    Raises ValueError for an unknown name or value.

    >>> fit_models("qwen3-8b", gpu="h100", max_model_len=16384).fits
    True
    """
    names = _names(models)
    if gpu is None:
        raise ValueError("give --gpu: the GPU type that the models should share (`ullage catalogue gpus` lists them)")
    gpu_type = builtin().gpu(gpu)
    slot = gpu_type.mig_profile(mig) if mig else None
    settings = engine_settings(
        engine_version=engine_version,
        dtype=dtype,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        max_num_batched_tokens=max_num_batched_tokens,
        enforce_eager=enforce_eager,
    )
    lengths = _per_model([max_model_len] if isinstance(max_model_len, int) else max_model_len, len(names), "--max-model-len")
    counts = _per_model([max_num_seqs] if isinstance(max_num_seqs, int) else max_num_seqs, len(names), "--max-num-seqs")
    tasks = [model_use(word) for word in _per_model([task] if isinstance(task, str) else task, len(names), "--task")]
    asked = [AskedModel(*each, max_num_batched_tokens) for each in zip(names, tasks, lengths, counts, strict=True)]
    settings = settings_on(gpu_type, settings)
    held = engine_constants(constants, store, gpu_type, settings)
    engines = [resident_engine(item, settings, held) for item in asked]
    found = fit(engines, gpu_type, slot, headroom_mib)
    return FitAnswer(found, () if found.fits else proposals(engines, gpu_type, slot, headroom_mib))


def model_use(word: str | None) -> ModelUse | None:
    """The use of that name; ValueError for another."""
    if word is not None and word not in set(ModelUse):
        raise ValueError(f"task {word!r} is none of {', '.join(ModelUse)}")
    return None if word is None else ModelUse(word)


def engine_settings(**given: Any) -> EngineSettings:  # noqa: ANN401 -- the fields of EngineSettings
    """Settings with what was given; None is not given."""
    # Asynchronous scheduling is on by default where the executor can; windows must then hold two steps.
    return EngineSettings(async_scheduling=True, **{field: value for field, value in given.items() if value is not None})


def _per_model(values: Sequence[PerModel] | None, count: int, option: str) -> list[PerModel | None]:
    """One value per model: none, the same for all, or each its own."""
    if not values:
        return [None] * count
    if len(values) not in {1, count}:
        raise ValueError(f"{option} is given {len(values)} times for {count} models; give it once, or once per model in their order")
    return [*values] * (count if len(values) == 1 else 1)


def engine_constants(path: str | Path | None, store: str | Path | None, gpu: GpuType, settings: EngineSettings) -> EngineConstants | None:
    """From a file, or from the starts of a store; None: those shipped."""
    if path is not None and store is not None:
        raise ValueError("--constants and --store contradict each other: both say how much memory an engine takes; give one of them")
    if path is None:
        found = measured_constants(stored(None if store is None else Path(store)), gpu, settings)
        return found.constants if found is not None else None
    raw = read_bytes(Path(path), "`ullage profile calibrate` writes such a file")
    return read_constants(str(path), raw.decode("utf-8", errors="replace"))


def resident_engine(asked: AskedModel, settings: EngineSettings, constants: EngineConstants | None) -> ResidentEngine:
    """The engine of one model: of the catalogue, or of a folder. UnknownNameError and ValueError name what is wrong."""
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
    found: list[Tensor] = []
    for path in sorted(folder.glob("*.safetensors")):
        if not path.is_file():
            raise ValueError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            length = header_length(str(path), file.read(PREFIX_BYTES))
            found += tensors(str(path), file.read(length))
    return loaded_bytes(found, architecture, settings) if found else None
