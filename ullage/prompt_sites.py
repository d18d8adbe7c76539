"""What a prompt of some length needs of each GPU type: the smallest block that holds it, its KV cache, and how long it is read there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiles.gpu_types import GpuType, MigProfile
from profiles.latency.prediction import predict
from profiles.memory.admission import AnswerLengths, NewRequest, PoolState, admission
from profiles.memory.coexistence import Resident, ResidentEngine, fit
from profiles.memory.kv import has_cache, kv_blocks_per_request, kv_bytes_per_block
from profiles.models import Architecture
from profiles.settings import EngineSettings, UnsupportedError
from profiles.store.measurements import Measurements
from ullage.planning.prompt import prefill_s

# Engines take powers of two; nodes of eight GPUs are the largest of the catalogue's boards.
_SIZES = (1, 2, 4, 8)

_MIB = 1 << 20
# The shortest answer: one token.
_ONE_TOKEN = AnswerLengths((1,))


@dataclass(frozen=True, slots=True)
class PromptSite:
    """One GPU type (or MIG slice of it) and the prompt. reason says why it cannot hold it; all numbers are then None.

    tensor_parallel_size is the smallest that holds it. Memory is per GPU: total_mib is what the replica takes of memory_mib with all that
    is left as its KV pool, prompt_kv_mib (prompt_blocks) what the prompt and one token of answer take of that pool, free_kv_mib
    (free_blocks) what is left of it for other requests. prefill_s is how long the prompt is read alone, at the median. usd_per_h is the
    price of the block, None where the catalogue lists none.
    """

    gpu: str
    mig_profile: str | None
    reason: str | None
    tensor_parallel_size: int | None = None
    memory_mib: int | None = None
    total_mib: int | None = None
    weights_mib: int | None = None
    prompt_kv_mib: int | None = None
    prompt_blocks: int | None = None
    free_kv_mib: int | None = None
    free_blocks: int | None = None
    prefill_s: float | None = None
    usd_per_h: float | None = None

    @property
    def fits(self) -> bool:
        """Whether the prompt fits there."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class PromptQuestion:
    """A prompt of a length, and where it may go: the GPU types, or one slice of each; headroom_mib stays free on every GPU."""

    prompt_tokens: int
    gpus: tuple[GpuType, ...]
    mig: str | None = None
    headroom_mib: int = 1024


def needed_tokens(architecture: Architecture, prompt_tokens: int) -> int:
    """The least max_model_len: the prompt, and one token of answer where text is written."""
    return prompt_tokens if architecture.pooling else prompt_tokens + 1


def prompt_sites(
    question: PromptQuestion, engine_on: Callable[[GpuType, int], ResidentEngine], measurements: Measurements
) -> tuple[PromptSite, ...]:
    """The prompt on every GPU type of the question, in their order.

    engine_on gives the engine on a type with a tensor-parallel size; its max_model_len is needed_tokens() at least. measurements correct
    the step times.
    """
    return tuple(_site(question, gpu, engine_on, measurements) for gpu in question.gpus)


def _site(
    question: PromptQuestion, gpu: GpuType, engine_on: Callable[[GpuType, int], ResidentEngine], measurements: Measurements
) -> PromptSite:
    mig = gpu.mig_profile(question.mig) if question.mig is not None else None
    one = mig is not None or gpu.engine is not None
    refused: list[tuple[bool, str]] = []
    for size in (1,) if one else _SIZES:
        engine = engine_on(gpu, size)
        found = fit([engine], gpu, mig, question.headroom_mib)
        [resident] = found.residents
        if found.fits:
            try:
                return _held(question.prompt_tokens, gpu, mig, engine, resident, measurements)
            except UnsupportedError as error:
                refused.append((False, str(error)))
        else:
            reasons = "; ".join(found.reasons)
            refused.append((False, reasons) if resident.reason is not None else (True, f"with {_gpus(size)}: {reasons}"))
    return PromptSite(gpu.name, question.mig, _reason(refused))


def _reason(refused: Sequence[tuple[bool, str]]) -> str:
    """What is missing with the most GPUs that could run it; where it runs on no number of them, why not on the first."""
    return next((text for runs, text in reversed(refused) if runs), refused[0][1])


def _held(
    prompt_tokens: int, gpu: GpuType, mig: MigProfile | None, asked: ResidentEngine, resident: Resident, measurements: Measurements
) -> PromptSite:
    engine = asked.within(resident.kv_bytes)
    architecture, settings, size = engine.architecture, engine.settings, engine.settings.tensor_parallel_size
    blocks = _blocks(architecture, settings, prompt_tokens, resident.kv_blocks)
    block_bytes = kv_bytes_per_block(architecture, settings) if has_cache(architecture) else 0
    # one block of every pool is the null block, which nobody gets
    free = max(0, resident.kv_blocks - 1 - blocks)
    step = predict(architecture, gpu, settings, mig, measurements)
    price = None if mig is not None or gpu.price_usd_per_h is None else gpu.price_usd_per_h * size
    return PromptSite(
        gpu=gpu.name,
        mig_profile=mig.name if mig is not None else None,
        reason=None,
        tensor_parallel_size=size,
        memory_mib=mig.memory_mib if mig is not None else gpu.memory_usable_mib,
        total_mib=resident.total_mib,
        weights_mib=next(line.memory_mib for line in resident.lines if line.name == "weights"),
        prompt_kv_mib=-(-blocks * block_bytes // _MIB),
        prompt_blocks=blocks,
        free_kv_mib=free * block_bytes // _MIB,
        free_blocks=free,
        prefill_s=prefill_s(step, settings, prompt_tokens),
        usd_per_h=price,
    )


def _blocks(architecture: Architecture, settings: EngineSettings, prompt_tokens: int, pool: int) -> int:
    """KV blocks of the prompt, and of one token of answer where text is written; an encoder has none."""
    if not has_cache(architecture):
        return 0
    if architecture.pooling:
        return kv_blocks_per_request(architecture, settings, prompt_tokens)
    return admission(architecture, settings, PoolState(pool, ()), NewRequest(prompt_tokens, 1), _ONE_TOKEN).most_blocks


def _gpus(size: int) -> str:
    return "1 GPU" if size == 1 else f"{size} GPUs"
