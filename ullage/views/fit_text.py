"""Whether engines live together, as text: the ledger line by line, what is left, limits and flags."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from profiles.memory.coexistence import Fit, Resident
from profiles.memory.proposals import Proposal

_MIB_PER_GIB = 1024


def fit_text(fit: Fit, proposed: Sequence[Proposal] = ()) -> str:
    """The whole answer for a terminal, with what would fit where it does not; ends in a newline."""
    residents = (list(_resident(resident, fit.fits)) for resident in fit.residents)
    sections = [[*_headline(fit), *_proposals(fit, proposed)], *residents, list(_footer(fit))]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _headline(fit: Fit) -> Iterator[str]:
    place = f"{fit.gpu} MIG {fit.mig_profile}" if fit.mig_profile else fit.gpu
    count = len(fit.residents)
    verdict = "fits" if fit.fits and count == 1 else "fit together" if fit.fits else "does not fit" if count == 1 else "do not fit together"
    yield f"{count} model{'s' if count > 1 else ''} on one {place}: {verdict}"
    for reason in fit.reasons:
        yield f"  {reason}"


def _proposals(fit: Fit, proposed: Sequence[Proposal]) -> Iterator[str]:
    if fit.fits or (any(resident.reason is not None for resident in fit.residents) and not proposed):
        return
    yield (
        "what would fit:"
        if proposed
        else "neither fp8 weights made while loading nor a larger --tensor-parallel-size up to 8 would make them fit"
    )
    for item in proposed:
        words = [f"--tensor-parallel-size {item.tensor_parallel_size}"] if item.tensor_parallel_size > 1 else []
        words += [f"--quantization fp8 (made while loading) for {', '.join(item.quantized)}"] if item.quantized else []
        yield f"  {' and '.join(words)}: {_gib(item.left_mib).strip()} are left per GPU"


def _resident(resident: Resident, fits: bool) -> Iterator[str]:
    yield resident.model
    if resident.reason is not None:
        yield f"  cannot run: {resident.reason}"
        return
    for line in resident.lines:
        yield f"  {line.name:<28} {_gib(line.memory_mib)}"
    yield f"  {'total per GPU':<28} {_gib(resident.total_mib)}"
    if resident.start_peak_mib > resident.total_mib:
        yield f"  {'highest while it starts':<28} {_gib(resident.start_peak_mib)}"
    if resident.kv_blocks:
        yield (
            f"  KV pool: {resident.kv_blocks:,} blocks, {resident.kv_tokens:,} tokens, {resident.max_concurrency:.2f} requests of full "
            f"length; smallest pool to start: {_gib(-(-resident.min_kv_bytes // (1 << 20))).strip()}"
        )
    else:
        yield "  no KV pool: an encoder has no KV cache"
    if resident.lowered_max_num_seqs is not None:
        yield (
            f"  --max-num-seqs is lowered from {resident.asked_sequences} to {resident.lowered_max_num_seqs}, the blocks of the pool: "
            "each sequence takes one block for its state; give --max-num-seqs to keep your own value"
        )
    length, sequences = _limit(resident.largest_max_model_len), _limit(resident.largest_max_num_seqs)
    yield f"  largest values that fit, each with all other options as given: --max-model-len {length}, --max-num-seqs {sequences}"
    if fits:
        yield f"  vllm serve {shlex.quote(resident.model)} {shlex.join(resident.flags)}"


def _footer(fit: Fit) -> Iterator[str]:
    if fit.binding:
        yield f"takes most memory: {fit.binding}"
    if fit.fits:
        yield f"left when each KV pool holds one longest request: {_gib(fit.left_mib).strip()}, divided evenly over the KV pools"
    yield f"memory: {_gib(fit.memory_mib).strip()}, of which {_gib(fit.headroom_mib).strip()} stay free"
    sources: dict[str, list[str]] = {}
    for resident in fit.residents:
        for line in resident.lines:
            named = f"{line.name} of {resident.model}" if line.name == "weights" else line.name
            if named not in sources.setdefault(line.provenance, []):
                sources[line.provenance].append(named)
    if sources:
        yield "where the numbers come from:"
        yield from (f"  {', '.join(named)}: {provenance}" for provenance, named in sources.items())


def _limit(value: int) -> str:
    return str(value) if value else "no"


def _gib(memory_mib: int) -> str:
    return f"{memory_mib / _MIB_PER_GIB:8.2f} GiB"
