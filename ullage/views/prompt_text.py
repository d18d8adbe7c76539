"""What one long prompt would do to a plan, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ullage.planning.prompt import PromptFit


def prompt_text(found: Sequence[PromptFit], prompt_tokens: int, quantile: float) -> str:
    """One replica after the other; ends in a newline."""
    able = sum(item.fits for item in found)
    lines = [f"a prompt of {prompt_tokens} tokens fits {able} of {len(found)} replicas"]
    for item in found:
        lines += _lines(item, quantile)
    return "\n".join(lines) + "\n"


def _lines(item: PromptFit, quantile: float) -> Iterator[str]:
    if item.prefill_s is None or item.prefill_alone_s is None:
        yield f"  {item.replica}: does not fit: {item.reason}"
        return
    share = f"at {item.share_fraction:.0%} of the GPU" if item.share_fraction < 1 else "with no neighbour on its GPUs"
    pool = f", {item.blocks} of {item.pool_blocks} blocks of its KV pool" if item.pool_blocks else ""
    yield (
        f"  {item.replica}: fits{pool}; read in {item.prefill_s:.2f} s "
        f"{share} (p{quantile * 100:g}), in {item.prefill_alone_s:.2f} s alone (median)"
    )
    if item.delay_s is not None:
        yield f"    delays {', '.join(item.neighbours)} by {item.delay_s:.2f} s at most (requests that run at the same time)"
    else:
        yield "    delays no other replica"
