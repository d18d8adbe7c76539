"""Causes of failures: which text shows which, which last, and what counts once an engine was ready."""

from __future__ import annotations

import pytest

from profiles.sources.failure_causes import CAUSE_BY_NAME, CAUSES
from profiles.sources.vllm_failures import root_cause
from profiles.sources.vllm_log import read_log

START = "INFO 01-01 00:00:00 [x.py:1] starts\n"
READY = "(APIServer pid=1) INFO:     Application startup complete.\n"
ERROR = "(EngineCore_DP0 pid=7) ERROR 01-01 00:00:00 [core.py:708] "
DEAD = (
    "(APIServer pid=1) ERROR 01-01 00:00:01 [async_llm.py:538] vllm.v1.engine.exceptions.EngineDeadError: "
    "EngineCore encountered an issue. See stack trace (above) for the root cause.\n"
)
FATAL = f"{ERROR}EngineCore encountered a fatal error.\n"

# Text, cause, whether the same command fails again.
STARTS = [
    ("ValueError: Free memory on device cuda:0 (3.1/79.19 GiB) on startup is less than desired", "free_memory", False),
    ("ValueError: No available memory for the cache blocks.", "no_kv", True),
    ("ValueError: ... (4 GiB KV cache is needed, which is larger than the available KV cache memory (1 GiB).", "no_kv", True),
    ("ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (856).", "state_blocks", True),
    ("AssertionError: Error in memory profiling. Initial free memory 70 GiB", "profile_race", False),
    ("Failed to load model - not enough GPU memory. Try (original error: CUDA out of memory. Tried)", "model_too_large", True),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 786.00 MiB", "out_of_memory", False),
    ("pydantic_core.ValidationError: 1 validation error for ModelConfig", "config", True),
    ("vllm serve: error: unrecognized arguments: --no-such-flag", "config", True),
    ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "hub", True),
    ("LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing traffic has been disabled.", "hub", True),
    ("LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub", "network", False),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "network", False),
    ("OSError: [Errno 98] address already in use", "port", False),
    ("OSError: [Errno 28] No space left on device", "disk", False),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "driver", True),
    ("RuntimeError: CUDA error: invalid device ordinal", "devices", True),
    ("ValueError: invalid literal for int() with base 10: 'MIG-1b2c'", "mig_uuid", True),
]


@pytest.mark.parametrize(("text", "name", "permanent"), STARTS)
def test_a_failed_start_has_a_cause_that_lasts_or_passes(text: str, name: str, permanent: bool) -> None:
    found = root_cause(f"{START}{ERROR}{text}\nRuntimeError: Engine core initialization failed. See root cause above.\n")
    assert found is not None
    assert (found.cause.name, found.cause.permanent, found.line, found.text, found.after_start) == (name, permanent, 2, text, False)


# What ends engines that were ready.
DEATHS = [
    (f"{FATAL}{ERROR}torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n{DEAD}", "cuda_error"),
    (f"{ERROR}NVRM: Xid (PCI:0000:3b:00): 31, pid=7\n{DEAD}", "cuda_error"),
    (f"{FATAL}{ERROR}RuntimeError: CUDA error: uncorrectable ECC error encountered\n{DEAD}", "gpu_lost"),
    (f"{FATAL}{ERROR}RuntimeError: CUDA error: the remote procedural call between the MPS server and the MPS client failed\n", "mps"),
    (f"[rank1]:[E ProcessGroupNCCL.cpp:632] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4)\n{DEAD}", "nccl"),
    (f"{FATAL}{ERROR}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n{DEAD}", "out_of_memory"),
    (f"{FATAL}{ERROR}TimeoutError: RPC call to execute_model timed out.\n{DEAD}", "hung"),
    (f"Fatal Python error: Segmentation fault\n{DEAD}", "crashed"),
    (
        "ERROR 10-29 08:32:36 [multiproc_executor.py:154] Worker proc VllmWorker-0 died unexpectedly, shutting down executor.\n",
        "worker_killed",
    ),
    (
        f"ERROR 01-16 17:16:49 [core_client.py:605] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.\n{DEAD}",
        "worker_killed",
    ),
    (f"{FATAL}{ERROR}KeyError: 'request-7'\n{DEAD}", "other"),
    (DEAD, "engine_dead"),
]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(("text", "name"), DEATHS)
def test_the_death_of_a_ready_engine_has_a_cause(text: str, name: str, colour: bool) -> None:
    if colour:
        text = "".join(f"\x1b[0;36m{line[:4]}\x1b[0;0m{line[4:]}" for line in text.splitlines(keepends=True))
    for found in (root_cause(START + READY + text), root_cause(text, ready=True)):
        assert found is not None
        assert (found.cause.name, found.after_start) == (name, True)
    assert read_log(START + READY + text).failure is None


def test_errors_of_requests_do_not_end_an_engine() -> None:
    requests = (
        "ERROR 01-01 00:00:00 [serving_chat.py:200] ValueError: prompt is too long\n"
        "pydantic_core.ValidationError: 1 validation error for ChatCompletionRequest\n  Value error, no messages [type=value_error]\n"
        "INFO 01-01 00:00:00 [logger.py:39] Received request cmpl-1: prompt: 'CUDA error: what is it?'\n"
    )
    assert root_cause(READY + requests) is None
    found = root_cause(READY + requests + FATAL + f"{ERROR}RuntimeError: NCCL error: unhandled system error\n")
    assert found is not None
    assert found.cause.name == "nccl"


def test_a_core_that_a_signal_ended_during_the_start() -> None:
    summary = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': -9}"
    found = root_cause(START + summary)
    assert found is not None
    assert found.cause.name == "worker_killed"
    assert root_cause(START + summary.replace("-9", "1")) is None
    # what stands before the summary tells more
    found = root_cause(f"{START}{ERROR}torch.OutOfMemoryError: no\n{summary}")
    assert found is not None
    assert found.cause.name == "out_of_memory"


def test_every_cause_has_one_name_and_a_sentence_of_advice() -> None:
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
    for name, cause in CAUSE_BY_NAME.items():
        assert (name, name.lower(), bool(cause.advice)) == (cause.name, cause.name, True)
