"""The end of a log."""

from __future__ import annotations

from pathlib import Path

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


def tail(text: str) -> str:
    """The last lines, indented for an error message."""
    lines = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"
