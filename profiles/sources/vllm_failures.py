"""Why a vLLM start failed: the root cause in its log, which stands before the engine's own summary, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WIDEST = 240


@dataclass(frozen=True, slots=True)
class Failure:
    """One cause: its class, the line (counted from 1) and text that show it, and what to do."""

    kind: str
    line: int
    text: str
    advice: str


# Class, pattern, advice. Where a line shows several, the earlier entry counts.
_CLASSES = tuple(
    (kind, re.compile(pattern), advice)
    for kind, pattern, advice in (
        (
            "FREE_MEMORY",
            r"Free memory on device .* is less than",
            "another process holds memory of this GPU: stop it or wait until its memory is free, or lower --gpu-memory-utilization",
        ),
        (
            "NO_KV",
            r"No available memory for the cache blocks|larger than the available KV cache memory|KV cache is needed",
            "lower --max-model-len, --max-num-seqs or --max-num-batched-tokens, or give the engine more memory",
        ),
        (
            "PROFILE_RACE",
            r"Error in memory profiling",
            "another process freed memory of this GPU during the start: start engines one after another and stop none meanwhile",
        ),
        (
            "OOM",
            r"torch\.OutOfMemoryError|CUDA out of memory|CUDA error: out of memory",
            "lower --gpu-memory-utilization (or the KV bytes), --max-num-seqs or --max-num-batched-tokens",
        ),
        (
            "HUB",
            r"LocalEntryNotFoundError|GatedRepo|RepositoryNotFoundError|We couldn't connect to|(?:401|403) Client Error",
            "the model's files could not be fetched: check the name, the access token and the network, or give a local folder",
        ),
        ("PORT", r"[Aa]ddress already in use", "another process listens on the port: stop it or choose another --port"),
        (
            "DEVICES",
            r"local rank \d+ is out of bounds|World size .* larger than .* available|invalid device ordinal",
            "fewer GPUs are visible than the engine's parallel sizes need: lower them or show it more GPUs",
        ),
        (
            "GPU_SUPPORT",
            r"[Mm]inimum capability|not supported (?:on|by|for) (?:this|the|your) (?:GPU|device)|only supported on GPUs with compute",
            "this GPU lacks what the format or dtype needs: choose another --quantization, --dtype or --kv-cache-dtype",
        ),
        (
            "CONFIG",
            r"Value error, |is greater than the derived|\d is not divisible by|unrecognized arguments|invalid choice",
            "the settings contradict the model or each other: correct the one that the message names",
        ),
    )
)
_EXCEPTION = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception)): \S")
# Summaries of a failure that happened elsewhere.
_SUMMARIES = re.compile(r"See (?:root cause|stack trace)|initialization failed|BrokenPipeError|died unexpectedly")


def root_cause(text: str) -> Failure | None:
    """The first line that shows a known cause, else the first exception; None when the log shows neither."""
    unknown: Failure | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if _SUMMARIES.search(line):
            continue
        for kind, pattern, advice in _CLASSES:
            if pattern.search(line):
                return Failure(kind, number, _shown(line), advice)
        if unknown is None and _EXCEPTION.search(line) and "WARNING" not in line and "DEBUG" not in line:
            kind = "CONFIG" if "ValidationError" in line else "OTHER"
            unknown = Failure(kind, number, _shown(line), "see the log around that line")
    return unknown


def _shown(line: str) -> str:
    """The message without the prefix of process, level, time and place."""
    message = re.sub(r"^(?:\([^)]*\) )?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] )?", "", line).strip()
    return message if len(message) <= _WIDEST else f"{message[: _WIDEST - 3]}..."
