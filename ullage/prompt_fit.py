"""Where a long prompt to a model fits: from names and options to an answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.catalogue import builtin
from profiles.gpu_types import GpuType, settings_on
from profiles.memory.coexistence import ResidentEngine
from profiles.settings import EngineSettings
from ullage.model_fit import DEFAULT_HEADROOM_MIB, AskedModel, engine_constants, engine_settings, model_use, resident_engine
from ullage.notebook.escaped import text_html
from ullage.notebook.frames import frame
from ullage.profiling.imports import stored
from ullage.prompt_sites import PromptQuestion, PromptSite, needed_tokens, prompt_sites
from ullage.views.prompt_sites_text import prompt_sites_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class PromptAnswer:
    """Where a prompt to a model fits, and what it needs there; one site per GPU type that was asked about."""

    model: str
    prompt_tokens: int
    max_model_len: int
    sites: tuple[PromptSite, ...]

    @property
    def fits(self) -> bool:
        """Whether the prompt fits any of them."""
        return any(site.fits for site in self.sites)

    def document(self) -> dict[str, Any]:
        """The answer as `ullage fit MODEL --prompt-tokens N --json` prints it."""
        return asdict(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per GPU type; the columns are the fields of ullage.prompt_sites.PromptSite. Raises ImportError without pandas."""
        return frame([asdict(site) for site in self.sites], [field.name for field in fields(PromptSite)])

    def __str__(self) -> str:
        """The text that `ullage fit MODEL --prompt-tokens N` prints."""
        return prompt_sites_text(self.model, self.prompt_tokens, self.max_model_len, self.sites)

    def __repr__(self) -> str:
        """Its first line."""
        return f"<PromptAnswer: {str(self).partition(chr(10))[0]}>"

    def _repr_html_(self) -> str:
        return text_html(str(self))


def fit_prompt(  # noqa: PLR0913 -- the options of `ullage fit`
    model: str,
    prompt_tokens: int,
    *,
    gpu: str | None = None,
    mig: str | None = None,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    task: str | None = None,
    max_num_batched_tokens: int | None = None,
    dtype: str = "auto",
    quantization: str | None = None,
    kv_cache_dtype: str = "auto",
    enforce_eager: bool = False,
    engine_version: str | None = None,
    headroom_mib: int = DEFAULT_HEADROOM_MIB,
    constants: str | Path | None = None,
    store: str | Path | None = None,
) -> PromptAnswer:
    """What one prompt needs of each GPU type of the catalogue, or of one: how many GPUs, memory, KV cache, and the time to read it.

    max_model_len is that of the engine (default: the prompt and one token of answer). store holds measured starts and step times. The
    other options are those of ullage.model_fit.fit_models. Raises ValueError for a model whose own context is shorter, and bad names.

    >>> fit_prompt("llama-3.1-8b-instruct", 60_000, gpu="h100").sites[0].tensor_parallel_size
    1
    """
    if mig is not None and gpu is None:
        raise ValueError("--mig names a slice of one GPU type; give --gpu too")
    gpus = builtin().gpus() if gpu is None else (builtin().gpu(gpu),)
    settings = engine_settings(
        engine_version=engine_version,
        dtype=dtype,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        max_num_batched_tokens=max_num_batched_tokens,
        enforce_eager=enforce_eager,
    )
    asked = AskedModel(model, model_use(task), max_model_len, max_num_seqs, max_num_batched_tokens)
    asked = replace(asked, max_model_len=_length(asked, prompt_tokens, settings))

    def engine_on(gpu_type: GpuType, size: int) -> ResidentEngine:
        own = settings_on(gpu_type, replace(settings, tensor_parallel_size=size))
        return resident_engine(asked, own, engine_constants(constants, store, gpu_type, own))

    question = PromptQuestion(prompt_tokens, gpus, mig, headroom_mib)
    sites = prompt_sites(question, engine_on, stored(None if store is None else Path(store)))
    return PromptAnswer(resident_engine(asked, settings, None).name, prompt_tokens, asked.max_model_len or 0, sites)


def _length(asked: AskedModel, prompt_tokens: int, settings: EngineSettings) -> int:
    """The max_model_len to ask for; ValueError where the prompt is longer than the model, or than what was asked for."""
    if prompt_tokens < 1:
        raise ValueError(f"a prompt of {prompt_tokens} tokens is none; give 1 or more")
    engine = resident_engine(asked, settings, None)
    needed = needed_tokens(engine.architecture, prompt_tokens)
    longest = engine.architecture.max_position
    needs = f"a prompt of {prompt_tokens} tokens" + (" and one of answer need" if needed > prompt_tokens else " needs")
    if longest < needed:
        raise ValueError(f"{engine.name}: {needs} {needed} tokens of context, and the longest of this model is {longest}")
    if asked.max_model_len is not None and asked.max_model_len < needed:
        raise ValueError(f"--max-model-len {asked.max_model_len}: {needs} {needed}; raise it, or leave it out")
    return needed if asked.max_model_len is None else asked.max_model_len
