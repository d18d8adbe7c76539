"""Why an engine did not start, read from the end of its log."""

from __future__ import annotations

from pathlib import Path

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

# a start-up log of vLLM is some hundred kB; more than this is request logging
_READ_LIMIT_BYTES = 1 << 20

# the lines people need: the exception and a few frames above it
_TAIL_LINES = 15


def read_end(path: Path) -> str:
    """The last part of a log; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - _READ_LIMIT_BYTES, 0))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def cause(text: str) -> str | None:
    """Class of the earliest known failure text; None when the log shows none."""
    found = [(text.index(sign), name) for name, signs in CAUSES.items() for sign in signs if sign in text]
    return min(found)[1] if found else None


def tail(text: str) -> str:
    """The last lines, indented for an error message."""
    lines = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"
