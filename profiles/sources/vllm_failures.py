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
            r"No available memory for the cache blocks|larger than the available KV cache memory|KV cache is needed"
            r"|larger than the maximum number of tokens that can be stored in KV cache",
            "lower --max-model-len, --max-num-seqs or --max-num-batched-tokens, or give the engine more memory",
        ),
        (
            "STATE_BLOCKS",
            r"max_num_seqs \(\d+\) exceeds available Mamba cache blocks",
            "each sequence of a recurrent model takes a block for its state: lower --max-num-seqs, enlarge the KV pool, or --enforce-eager",
        ),
        (
            "MIG_UUID",
            r"invalid literal for int\(\) with base 10: '(?:MIG|GPU)-",
            "this version cannot be pinned by a device's UUID: use a newer vLLM, or a container that sees this device only",
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
        ("DISK", r"No space left on device", "a disk is full: make room for weights and caches (HF_HOME, VLLM_CACHE_ROOT)"),
        (
            "HOST_MEMORY",
            r"std::bad_alloc|Cannot allocate memory|unable to (?:open|mmap|allocate) shared memory|[Ii]nsufficient shared memory",
            "the host's memory or /dev/shm is used up: give it more, or start fewer engines on this node",
        ),
        (
            "DRIVER",
            r"driver on your system is too old|driver version is insufficient|no kernel image is available|Found no NVIDIA driver",
            "the driver and this build of vLLM do not go together: update the driver, or use the build for it and for this GPU",
        ),
        ("NCCL", r"NCCL error|ncclUnhandledCudaError|ncclSystemError", "the GPUs cannot talk to each other: see NCCL_DEBUG=WARN"),
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
            r"Value error, |is greater than the derived|\d is not divisible by|must be divisible by|unrecognized arguments|invalid choice"
            r"|Cannot find the config file for|Unknown quantization method|architectures \S+ (?:are|is) not supported"
            r"|trust_remote_code=True",
            "the settings contradict the model or each other: correct the one that the message names",
        ),
    )
)
# The level of a line of the log, after the tag of its process: only what was no failure to vLLM is passed over.
_QUIET = re.compile(r"(?:\([^)]*\) )?(?:DEBUG|WARNING) \d\d-\d\d ")
_EXCEPTION = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception)): \S")
# Summaries of a failure that happened elsewhere.
_SUMMARIES = re.compile(r"See (?:root cause|stack trace)|initialization failed|BrokenPipeError|died unexpectedly")


def root_cause(text: str) -> Failure | None:
    """The first line that shows a known cause, else the first exception; None when the log shows neither."""
    unknown: Failure | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if _SUMMARIES.search(line) or _QUIET.match(line):
            continue
        for kind, pattern, advice in _CLASSES:
            if pattern.search(line):
                return Failure(kind, number, _shown(line), advice)
        if unknown is None and _EXCEPTION.search(line):
            kind = "CONFIG" if "ValidationError" in line else "OTHER"
            unknown = Failure(kind, number, _shown(line), "see the log around that line")
    return unknown


def _shown(line: str) -> str:
    """The message without the prefix of process, level, time and place."""
    message = re.sub(r"^(?:\([^)]*\) )?(?:[A-Z]+ \d\d-\d\d [\d:]+ (?:\[[^\]]*\]|\S+:\d+\]) )?", "", line).strip()
    return message if len(message) <= _WIDEST else f"{message[: _WIDEST - 3]}..."
