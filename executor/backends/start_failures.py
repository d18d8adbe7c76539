"""Why an engine did not start, read from the end of its log."""

from __future__ import annotations

# Texts of vLLM 0.19 to 0.33 by cause. The root cause precedes "Engine core initialization failed", so the earliest match decides.
CAUSES: dict[str, tuple[str, ...]] = {
    "free_memory": ("Free memory on device",),
    "no_kv": ("No available memory for the cache blocks", "larger than the available KV cache memory"),
    "profile_race": ("Error in memory profiling",),
    "out_of_memory": ("torch.OutOfMemoryError", "CUDA out of memory"),
    "config": ("ValidationError", "is greater than the derived", "not divisible by"),
    "hub": ("LocalEntryNotFoundError", "GatedRepo"),
    "port": ("address already in use", "Address already in use"),
}


def cause(text: str) -> str | None:
    """Class of the earliest known failure text; None when the log shows none."""
    found = [(text.index(sign), name) for name, signs in CAUSES.items() for sign in signs if sign in text]
    return min(found)[1] if found else None
