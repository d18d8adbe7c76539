"""Failed starts: the cause that the log shows, or what we saw, with whether it lasts and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import start_causes
from executor.backends.readiness import _failure
from executor.errors import StartError
from executor.processes.logs import read_end, tail
from profiles.sources.failure_causes import CAUSE_BY_NAME, FailureCause
from tests.plans import replica

CORE = "(EngineCore pid=7) ERROR 04-22 15:14:02 [v1/engine/core.py:1108] "
KV = f"{CORE}ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.\n"
SUMMARY = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"


def failure(tmp_path: Path, text: str, seen: FailureCause = start_causes.EXITED) -> StartError:
    log = tmp_path / "replica-a-0.log"
    log.write_text(text)
    return _failure(replica("a-0", "a", "m"), seen, "its process ended during the start", log)


def test_the_message_has_cause_line_advice_and_the_end_of_the_log(tmp_path: Path) -> None:
    error = failure(tmp_path, KV + "frame\n" * 30 + SUMMARY)
    assert (error.replica, error.cause, error.failure.permanent) == ("a-0", "no_kv", True)
    lines = str(error).splitlines()
    assert lines[:4] == [
        "replica a-0: its process ended during the start (no_kv: the same command fails again)",
        "  the log shows: ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
        f"  what to do: {CAUSE_BY_NAME['no_kv'].advice}",
        f"  the end of {tmp_path / 'replica-a-0.log'}:",
    ]
    assert lines[-1].startswith("    RuntimeError: Engine core initialization failed")


@pytest.mark.parametrize("seen", [start_causes.EXITED, start_causes.TIMEOUT, start_causes.FOREIGN])
def test_without_a_known_text_what_we_saw_is_the_cause(tmp_path: Path, seen: FailureCause) -> None:
    error = failure(tmp_path, "KeyError: 'model.layers.0'\n", seen)
    assert error.failure is seen
    assert not error.failure.permanent
    assert "KeyError: 'model.layers.0'" in str(error).splitlines()[1]
    assert seen.advice in str(error)


def test_a_key_that_is_missing_is_not_explained_by_an_old_line_of_the_log(tmp_path: Path) -> None:
    error = failure(tmp_path, KV, start_causes.API_KEY)
    assert (error.cause, error.failure.permanent) == ("api_key", True)


def test_the_tail_is_short_and_of_a_missing_log_says_so(tmp_path: Path) -> None:
    text = "\n".join(f"line {i}" for i in range(100))
    assert tail(text).splitlines()[0] == "    line 85"
    assert "empty" in tail(read_end(tmp_path / "absent"))
