"""Why an engine fails: each cause with the texts of vLLM 0.6 to 0.33 that show it, whether it passes, and what to do.

The texts were read in vLLM's source, in logs of failed starts, and in reports of users. Names are stable: people and programs compare them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailureCause:
    """One cause.

    permanent: the same command on the same GPU fails again; otherwise another try may succeed. running: it also ends engines that
    were ready. texts: a pattern for one line of the log; "" for what no line shows.
    """

    name: str
    permanent: bool
    advice: str
    texts: str = ""
    running: bool = False

    @property
    def lasts(self) -> str:
        """Permanent or not, in words."""
        return "the same command fails again" if self.permanent else "another try may succeed"


_TEMPORARY, _PERMANENT = False, True

_MEMORY = (
    FailureCause(
        "free_memory",
        _TEMPORARY,
        "another process holds memory of this GPU: stop it or wait until its memory is free, or lower --gpu-memory-utilization",
        r"Free memory on device .* is less than",
    ),
    FailureCause(
        "no_kv",
        _PERMANENT,
        "lower --max-model-len, --max-num-seqs or --max-num-batched-tokens, or give the engine more memory",
        r"No available memory for the cache blocks|larger than the available KV cache memory|KV cache is needed"
        r"|larger than the maximum number of tokens that can be stored in KV cache",
    ),
    FailureCause(
        "state_blocks",
        _PERMANENT,
        "each sequence of a recurrent model takes a block for its state: lower --max-num-seqs, enlarge the KV pool, or --enforce-eager",
        r"max_num_seqs \(\d+\) exceeds available Mamba cache blocks",
    ),
    FailureCause(
        "profile_race",
        _TEMPORARY,
        "another process freed memory of this GPU during the start: start engines one after another and stop none meanwhile",
        r"Error in memory profiling",
    ),
    FailureCause(
        "model_too_large",
        _PERMANENT,
        "the weights do not fit: use more GPUs (--tensor-parallel-size), a larger GPU or a quantised model",
        r"Failed to load model - not enough GPU memory",
    ),
    FailureCause(
        "out_of_memory",
        _TEMPORARY,
        "lower --gpu-memory-utilization (or the KV bytes), --max-num-seqs or --max-num-batched-tokens",
        r"torch\.OutOfMemoryError|CUDA out of memory|CUDA error: out of memory",
        running=True,
    ),
    FailureCause(
        "disk", _TEMPORARY, "a disk is full: make room for weights and caches (HF_HOME, VLLM_CACHE_ROOT)", r"No space left on device"
    ),
    FailureCause(
        "host_memory",
        _TEMPORARY,
        "the host's memory or /dev/shm is used up: give it more, or start fewer engines on this node",
        r"std::bad_alloc|Cannot allocate memory|unable to (?:open|mmap|allocate) shared memory|[Ii]nsufficient shared memory",
        running=True,
    ),
)

_FETCHING = (
    FailureCause(
        "hub",
        _PERMANENT,
        "the model's files may not be fetched: check the name and the access token (some models must be asked for), or give a local folder",
        r"GatedRepo|RepositoryNotFoundError|RevisionNotFoundError|(?:401|403) Client Error|OfflineModeIsEnabled"
        r"|outgoing traffic has been disabled",
    ),
    FailureCause(
        "network",
        _TEMPORARY,
        "the model's files could not be fetched: check the network and the proxy, or give a local folder",
        r"LocalEntryNotFoundError: |We couldn't connect to|Temporary failure in name resolution|Max retries exceeded with url"
        r"|429 Client Error|50\d Server Error|requests\.exceptions\.Conn\w+|httpx\.Connect\w+|(?:httpx|requests\.exceptions)\.ReadTimeout",
    ),
)

# Before the causes of _GPU: a line may be of a "CUDA error" and tell which.
_MACHINE = (
    FailureCause(
        "driver",
        _PERMANENT,
        "the driver and this build of vLLM do not go together: update the driver, or use the build for it and for this GPU",
        r"driver on your system is too old|driver version is insufficient|no kernel image is available|Found no NVIDIA driver"
        r"|compiled with an unsupported toolchain",
    ),
    FailureCause(
        "mig_uuid",
        _PERMANENT,
        "this version cannot be pinned by a device's UUID: use a newer vLLM, or a container that sees this device only",
        r"invalid literal for int\(\) with base 10: '(?:MIG|GPU)-",
    ),
    FailureCause(
        "devices",
        _PERMANENT,
        "fewer GPUs are visible than the engine's parallel sizes need: lower them or show it more GPUs",
        r"local rank \d+ is out of bounds|World size .* larger than .* available|invalid device ordinal",
    ),
    FailureCause(
        "gpu_support",
        _PERMANENT,
        "this GPU lacks what the format or dtype needs: choose another --quantization, --dtype or --kv-cache-dtype",
        r"[Mm]inimum capability|not supported (?:on|by|for) (?:this|the|your) (?:GPU|device)|only supported on GPUs with compute",
    ),
    FailureCause("port", _TEMPORARY, "another process listens on the port: stop it or choose another --port", r"[Aa]ddress already in use"),
)

_GPU = (
    FailureCause(
        "gpu_lost",
        _PERMANENT,
        "the GPU is damaged or gone for now: take it out of use, see `nvidia-smi -q` and the kernel's log, and reset it",
        r"uncorrectable (?:ECC|NVLink) error|GPU is lost|GPU has fallen off the bus|GPU requires reset",
        running=True,
    ),
    FailureCause(
        "mps",
        _TEMPORARY,
        "a fault of one process ends all that share this GPU through MPS: look at the logs of its neighbours, or do not share it by MPS",
        r"\bMPS (?:client|server|control)\b",
        running=True,
    ),
    FailureCause(
        "nccl",
        _TEMPORARY,
        "the GPUs cannot talk to each other: see NCCL_DEBUG=WARN",
        r"NCCL error|nccl(?:UnhandledCuda|System|Internal|Remote)Error|Watchdog caught collective operation timeout",
        running=True,
    ),
    FailureCause(
        "cuda_error",
        _TEMPORARY,
        "a kernel failed on the GPU: if it does so again, see the kernel's log for Xid lines and report it with CUDA_LAUNCH_BLOCKING=1",
        r"CUDA error: |CUDA driver error|\bcudaError[A-Z]\w+|\bXid\b|CUBLAS_STATUS_(?!SUCCESS)|device-side assert triggered",
        running=True,
    ),
    FailureCause(
        "hung",
        _TEMPORARY,
        "a worker did not answer in time: see what its GPU and its processor do, and the lines of that worker before",
        r"RPC call to \w+ timed out",
        running=True,
    ),
    FailureCause(
        "crashed",
        _TEMPORARY,
        "a process of the engine crashed in native code: see the lines before, and report it with its core dump",
        r"Segmentation fault|Fatal Python error|\bBus error\b|double free or corruption",
        running=True,
    ),
)

_SETTINGS = (
    FailureCause(
        "config",
        _PERMANENT,
        "the settings contradict the model or each other: correct the one that the message names",
        r"Value error, |is greater than the derived|\d is not divisible by|must be divisible by|unrecognized arguments|invalid choice"
        r"|Cannot find the config file for|Unknown quantization method|architectures \S+ (?:are|is) not supported"
        r"|trust_remote_code=True",
    ),
)

# Where a line shows several, the earlier one counts.
CAUSES = (*_MEMORY, *_FETCHING, *_MACHINE, *_GPU, *_SETTINGS)

# Told by the summary of a failure: these count only where no line before tells more.
WORKER_KILLED = FailureCause(
    "worker_killed",
    _TEMPORARY,
    "a process of the engine was killed from outside, often because the host's memory was used up: see the kernel's log",
    r"Worker proc \S+ died unexpectedly|Engine core proc \S+ died unexpectedly|Failed core proc\(s\): \{[^}]*: -\d+",
    running=True,
)
ENGINE_DEAD = FailureCause(
    "engine_dead",
    _TEMPORARY,
    "the engine's core ended and its log does not show why: see the lines before, and the kernel's log",
    r"EngineDeadError|EngineCore encountered (?:a fatal error|an issue)",
    running=True,
)
SUMMARY_CAUSES = (WORKER_KILLED, ENGINE_DEAD)

# An exception that none of the causes knows.
OTHER = FailureCause("other", _TEMPORARY, "see the log around that line", running=True)

CAUSE_BY_NAME = {cause.name: cause for cause in (*CAUSES, *SUMMARY_CAUSES, OTHER)}

COMPILED = tuple((cause, re.compile(cause.texts)) for cause in CAUSES)
COMPILED_SUMMARIES = tuple((cause, re.compile(cause.texts)) for cause in SUMMARY_CAUSES)
