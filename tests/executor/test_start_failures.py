"""Causes of failed starts, read from logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.backends import start_failures
from executor.processes.logs import read_end, tail

EXAMPLES = [
    ("ValueError: Free memory on device cuda:0 (3.1/79.19 GiB) on startup is less than desired", "free_memory"),
    ("ValueError: No available memory for the cache blocks.", "no_kv"),
    ("the KV cache needed (4 GiB) is larger than the available KV cache memory (1 GiB)", "no_kv"),
    ("AssertionError: Error in memory profiling. Initial free memory", "profile_race"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out_of_memory"),
    ("pydantic_core.ValidationError: 1 validation error for ModelConfig", "config"),
    ("LocalEntryNotFoundError: cannot find the requested files", "hub"),
    ("OSError: [Errno 98] address already in use", "port"),
    ("INFO all is well", None),
]


@pytest.mark.parametrize(("line", "expected"), EXAMPLES)
def test_known_texts_have_a_class(line: str, expected: str | None) -> None:
    assert start_failures.cause(f"INFO starting\n{line}\n") == expected


def test_the_root_cause_is_the_first_one() -> None:
    text = "torch.OutOfMemoryError: no\nRuntimeError: Engine core initialization failed\nValidationError: later"
    assert start_failures.cause(text) == "out_of_memory"


def test_the_tail_is_short_and_of_a_missing_log_says_so(tmp_path: Path) -> None:
    text = "\n".join(f"line {i}" for i in range(100))
    assert tail(text).splitlines()[0] == "    line 85"
    assert "empty" in tail(read_end(tmp_path / "absent"))
