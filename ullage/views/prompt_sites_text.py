"""What a prompt needs of each GPU type, as text."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.prompt_sites import PromptSite
from ullage.views.words import MIB_PER_GIB, table

_HEAD = ("GPU type", "GPUs", "memory per GPU", "weights", "KV of the prompt", "KV left", "read alone", "USD/h")


def prompt_sites_text(model: str, prompt_tokens: int, max_model_len: int, sites: Sequence[PromptSite]) -> str:
    """Where the prompt fits, one line per GPU type, then why it does not fit the others; ends in a newline."""
    able = [site for site in sites if site.fits]
    types = "GPU type" if len(sites) == 1 else "GPU types"
    lines = [f"a prompt of {prompt_tokens} tokens to {model} (max_model_len {max_model_len}) fits {len(able)} of {len(sites)} {types}"]
    if able:
        lines += table([_HEAD, *map(_row, able)])
        lines.append("  GPUs: the smallest tensor-parallel size; memory and KV cache are per GPU; read alone: median")
    lines += [f"  not on {_place(site)}: {site.reason}" for site in sites if not site.fits]
    return "\n".join(lines) + "\n"


def _row(site: PromptSite) -> tuple[str, ...]:
    return (
        _place(site),
        str(site.tensor_parallel_size),
        f"{_gib(site.total_mib)} of {_gib(site.memory_mib)} GiB",
        f"{_gib(site.weights_mib)} GiB",
        f"{site.prompt_kv_mib:,} MiB, {site.prompt_blocks:,} blocks" if site.prompt_blocks else "no KV cache",
        f"{site.free_kv_mib:,} MiB, {site.free_blocks:,} blocks" if site.prompt_blocks else "-",
        f"{site.prefill_s:.2f} s",
        "-" if site.usd_per_h is None else f"{site.usd_per_h:.2f}",
    )


def _place(site: PromptSite) -> str:
    return site.gpu if site.mig_profile is None else f"{site.gpu} MIG {site.mig_profile}"


def _gib(memory_mib: int | None) -> str:
    return "-" if memory_mib is None else f"{memory_mib / MIB_PER_GIB:.1f}"
