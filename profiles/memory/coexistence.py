"""Do these engines live together on one GPU, MIG slice or tensor-parallel block? Ledgers, what is left, the binding line, the limits.

Memory is counted per GPU: engines with tensor or pipeline parallelism take the same on each of theirs. Every engine has at least the KV
pool it starts with, for one request of max_model_len and the states of max_num_seqs; what is left beyond is divided evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from profiles.engine_versions import KV_BYTES, MIG_BY_UUID, OWN_BUDGET, has, lacking
from profiles.gpu_types import GpuType, MigProfile
from profiles.memory.caveats import kv_caveat
from profiles.memory.engine_constants import EngineConstants, constants_for
from profiles.memory.kv import has_cache, kv_blocks, kv_bytes_per_block, kv_pool_tokens, max_concurrency
from profiles.memory.ledger import MemoryLedger, memory_ledger
from profiles.memory.pool import largest_max_num_seqs, least_kv_bytes, needs_block_per_sequence
from profiles.models import Architecture
from profiles.precision import quantization_reason
from profiles.settings import EngineSettings, UnsupportedError

_MIB = 1 << 20
# Digits of --gpu-memory-utilization.
_UTILIZATION_STEP = 10_000


@dataclass(frozen=True, slots=True)
class ResidentEngine:
    """One engine that shall live there. checkpoint_bytes: weights of its files as loaded, None takes them from the dimensions.

    name is what `vllm serve` is given. lowers_sequences: nobody stated max_num_seqs, and where its states find no room it may be as low as
    the blocks of the pool.
    """

    name: str
    architecture: Architecture
    settings: EngineSettings
    constants: EngineConstants | None = None
    checkpoint_bytes: float | None = None
    lowers_sequences: bool = False

    def ledger(self, gpu: GpuType, kv_bytes: int) -> MemoryLedger:
        """Its ledger with that pool; UnsupportedError when vLLM could not run it."""
        return memory_ledger(self.architecture, gpu, self.settings, kv_bytes, self.constants, self.checkpoint_bytes)

    @property
    def min_kv_bytes(self) -> int:
        """The pool for one longest request, and for the state of every sequence (of one, where they may be lowered)."""
        settings = replace(self.settings, max_num_seqs=1) if self.lowers_sequences else self.settings
        return least_kv_bytes(self.architecture, settings)

    def within(self, kv_bytes: int) -> ResidentEngine:
        """With no more sequences than a pool of so many bytes has blocks for, where they may be lowered."""
        if not self.lowers_sequences:
            return self
        sequences = largest_max_num_seqs(self.architecture, self.settings, kv_bytes)
        return replace(self, settings=replace(self.settings, max_num_seqs=sequences))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a ledger: what, how much per GPU, and where the number comes from."""

    name: str
    memory_mib: int
    provenance: str


@dataclass(frozen=True, slots=True)
class Resident:
    """One engine in the answer.

    reason says why vLLM cannot run it at all; then everything else is empty. The largest_ values are those that still fit while all else
    stays as asked, 0 when none does. lowered_max_num_seqs stands where one that nobody stated is lowered to the blocks of the pool, from
    asked_sequences. flags are the arguments of `vllm serve`.
    """

    model: str
    reason: str | None
    lines: tuple[Line, ...] = ()
    total_mib: int = 0
    start_peak_mib: int = 0
    kv_bytes: int = 0
    kv_blocks: int = 0
    kv_tokens: int = 0
    max_concurrency: float = 0.0
    min_kv_bytes: int = 0
    largest_max_model_len: int = 0
    largest_max_num_seqs: int = 0
    asked_sequences: int = 0
    lowered_max_num_seqs: int | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer.

    left_mib is what remains beyond headroom_mib when every engine has the least KV pool (below 0: what is missing), and goes to their
    pools. binding is the largest line then.
    """

    gpu: str
    mig_profile: str | None
    memory_mib: int
    headroom_mib: int
    fits: bool
    left_mib: int
    binding: str
    residents: tuple[Resident, ...]
    reasons: tuple[str, ...]


def fit(engines: Sequence[ResidentEngine], gpu: GpuType, mig: MigProfile | None, headroom_mib: int) -> Fit:
    """Whether these engines live together on one GPU (or slice) with headroom_mib free.

    Where they do not, max_num_seqs of those that may lower it are lowered to the blocks of their pools.
    """
    found = _fit([replace(engine, lowers_sequences=False) for engine in engines], gpu, mig, headroom_mib)
    may_lower = any(engine.lowers_sequences and needs_block_per_sequence(engine.architecture, engine.settings) for engine in engines)
    return found if found.fits or not may_lower else _fit(engines, gpu, mig, headroom_mib)


def _fit(engines: Sequence[ResidentEngine], gpu: GpuType, mig: MigProfile | None, headroom_mib: int) -> Fit:
    memory_mib = mig.memory_mib if mig else gpu.memory_usable_mib
    refused = [_refusal(engine, gpu, mig, len(engines) == 1) for engine in engines]
    runnable = [engine for engine, reason in zip(engines, refused, strict=True) if reason is None]
    pools = sum(has_cache(engine.architecture) for engine in runnable)
    empty = [engine.ledger(gpu, engine.min_kv_bytes) for engine in runnable]
    spare_mib = memory_mib - headroom_mib - _needed_mib(empty)
    fits = spare_mib >= 0 and len(runnable) == len(engines)
    share_bytes = max(spare_mib, 0) * _MIB // max(pools, 1)
    residents = []
    for engine, reason in zip(engines, refused, strict=True):
        if reason is not None:
            residents.append(Resident(engine.name, reason))
            continue
        others = [ledger for other, ledger in zip(runnable, empty, strict=True) if other is not engine]
        room_mib = memory_mib - headroom_mib - sum(ledger.total_mib for ledger in others)
        residents.append(_resident(engine, gpu, share_bytes, room_mib, memory_mib))
    lines = [
        (f"{line.name} of {engine.name}", line.memory_mib)
        for engine, ledger in zip(runnable, empty, strict=True)
        for line in _lines(engine, gpu, ledger)
    ]
    return Fit(
        gpu=gpu.name,
        mig_profile=mig.name if mig else None,
        memory_mib=memory_mib,
        headroom_mib=headroom_mib,
        fits=fits,
        left_mib=spare_mib,
        binding=max(lines, key=lambda line: line[1])[0] if lines else "",
        residents=tuple(residents),
        reasons=tuple(_reasons(residents, spare_mib, memory_mib, headroom_mib)),
    )


def _refusal(engine: ResidentEngine, gpu: GpuType, mig: MigProfile | None, alone: bool) -> str | None:
    settings = engine.settings
    if mig is not None and settings.tensor_parallel_size * settings.pipeline_parallel_size > 1:
        return "an engine sees one MIG slice only: no tensor or pipeline parallelism across slices"
    if mig is not None and (old := lacking(settings.engine_version, MIG_BY_UUID)) is not None:
        return old
    if not alone and (old := lacking(settings.engine_version, KV_BYTES, OWN_BUDGET)) is not None:
        return f"{old}: engines of this version cannot share a GPU as planned"
    try:
        reason = quantization_reason(engine.architecture, settings.quantization) or _prompt_reason(engine)
        if reason is not None:
            return reason
        engine.ledger(gpu, engine.min_kv_bytes)
    except UnsupportedError as error:
        return str(error)
    return None


def _prompt_reason(engine: ResidentEngine) -> str | None:
    """Why the longest prompt cannot be embedded: it is read in one step."""
    settings = engine.settings
    if not engine.architecture.pooling or settings.max_num_batched_tokens >= settings.max_model_len:
        return None
    return (
        f"a prompt of max_model_len {settings.max_model_len} tokens is embedded in one step, which holds max_num_batched_tokens "
        f"{settings.max_num_batched_tokens}; raise it or lower max_model_len"
    )


def _needed_mib(ledgers: Sequence[MemoryLedger]) -> int:
    """All engines awake, and the start of any of them beside the others."""
    total_mib = sum(ledger.total_mib for ledger in ledgers)
    return total_mib + max((ledger.start_peak_mib - ledger.total_mib for ledger in ledgers), default=0)


def _reasons(residents: Sequence[Resident], spare_mib: int, memory_mib: int, headroom_mib: int) -> list[str]:
    reasons = [resident.reason for resident in residents if resident.reason is not None]
    if spare_mib < 0:
        room_mib = memory_mib - headroom_mib
        reasons.append(
            f"{-spare_mib} MiB are missing: {memory_mib} MiB less {headroom_mib} MiB of headroom do not hold {room_mib - spare_mib} MiB"
        )
    return reasons


def _resident(asked: ResidentEngine, gpu: GpuType, share_bytes: int, room_mib: int, memory_mib: int) -> Resident:
    """The engine with the least pool and share_bytes more; room_mib is what it may take in all while the others have the least pool."""
    architecture = asked.architecture
    cached = has_cache(architecture)
    block_bytes = kv_bytes_per_block(architecture, asked.settings) if cached else 1
    kv_bytes = (asked.min_kv_bytes + share_bytes) // block_bytes * block_bytes if cached else 0
    engine, strict = asked.within(kv_bytes), replace(asked, lowers_sequences=False)
    settings = engine.settings
    lowered = settings.max_num_seqs if settings.max_num_seqs < asked.settings.max_num_seqs else None
    ledger = engine.ledger(gpu, kv_bytes)
    return Resident(
        model=engine.name,
        reason=None,
        lines=_lines(engine, gpu, ledger),
        total_mib=ledger.total_mib,
        start_peak_mib=ledger.start_peak_mib,
        kv_bytes=kv_bytes,
        kv_blocks=kv_blocks(architecture, settings, kv_bytes) if cached else 0,
        kv_tokens=kv_pool_tokens(architecture, settings, kv_bytes) if cached else 0,
        max_concurrency=max_concurrency(architecture, settings, kv_bytes) if cached else 0.0,
        min_kv_bytes=engine.min_kv_bytes,
        largest_max_model_len=_largest(engine, gpu, room_mib, _longest(architecture, settings), _with_length),
        largest_max_num_seqs=_largest(strict, gpu, room_mib, settings.max_num_batched_tokens, _with_sequences),
        asked_sequences=asked.settings.max_num_seqs,
        lowered_max_num_seqs=lowered,
        flags=_flags(engine, ledger, kv_bytes, memory_mib),
    )


def _longest(architecture: Architecture, settings: EngineSettings) -> int:
    """Tokens of the longest prompt: where it is pooled it is read in one step."""
    return min(architecture.max_position, settings.max_num_batched_tokens) if architecture.pooling else architecture.max_position


def _lines(engine: ResidentEngine, gpu: GpuType, ledger: MemoryLedger) -> tuple[Line, ...]:
    constants = (engine.constants or constants_for(engine.settings.engine_version)).provenance
    weights = "headers of the safetensors files" if engine.checkpoint_bytes is not None else f"dimensions: {engine.architecture.source}"
    kv = kv_caveat(gpu, engine.settings)
    return (
        Line("weights", ledger.weights_mib, weights),
        Line("activation and non-torch", ledger.activation_mib, constants),
        Line("CUDA graphs", ledger.cuda_graphs_mib, constants),
        Line("context (outside the budget)", ledger.context_mib, constants),
        Line("KV cache", ledger.kv_mib, f"arithmetic of vLLM; {kv}" if kv else "arithmetic of vLLM"),
    )


def _with_length(settings: EngineSettings, value: int) -> EngineSettings:
    return replace(settings, max_model_len=value)


def _with_sequences(settings: EngineSettings, value: int) -> EngineSettings:
    return replace(settings, max_num_seqs=value)


def _largest(
    engine: ResidentEngine, gpu: GpuType, room_mib: int, most: int, changed: Callable[[EngineSettings, int], EngineSettings]
) -> int:
    """The largest value up to `most` whose least ledger stays within room_mib; 0 when none does. More never takes less memory."""

    def fits(value: int) -> bool:
        other = replace(engine, settings=changed(engine.settings, value))
        return _needed_mib([other.ledger(gpu, other.min_kv_bytes)]) <= room_mib

    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _flags(engine: ResidentEngine, ledger: MemoryLedger, kv_bytes: int, memory_mib: int) -> tuple[str, ...]:
    settings = engine.settings
    # vLLM holds this share against the free memory when it starts, even when the bytes of the cache are given.
    utilization = (ledger.total_mib - ledger.context_mib) * _UTILIZATION_STEP // memory_mib / _UTILIZATION_STEP
    words = ["--dtype", settings.dtype]
    if settings.quantization is not None:
        words += ["--quantization", settings.quantization]
    words += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if settings.pipeline_parallel_size > 1:
        words += ["--pipeline-parallel-size", str(settings.pipeline_parallel_size)]
    words += ["--max-model-len", str(settings.max_model_len), "--max-num-seqs", str(settings.max_num_seqs)]
    words += ["--max-num-batched-tokens", str(settings.max_num_batched_tokens), "--kv-cache-dtype", settings.kv_cache_dtype]
    if engine.architecture.pooling:
        words += ["--runner", "pooling"]
        words += ["--hf-overrides", engine.architecture.hf_overrides] if engine.architecture.hf_overrides else []
    if kv_bytes and has(settings.engine_version, KV_BYTES):
        words += ["--kv-cache-memory-bytes", str(kv_bytes)]
    words += ["--gpu-memory-utilization", repr(utilization)]
    return tuple([*words, "--enforce-eager"] if settings.enforce_eager else words)
