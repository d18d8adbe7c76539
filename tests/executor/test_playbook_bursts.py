"""Two bursts at once may ask for the same: the end of one is not the end of the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor.applying.playbook_run import change_refused
from executor.state.folder import StateFolder
from executor.state.refused import refused_now
from planner.plan import BurstStep
from planner.playbook.refusals import BurstClaim, Refusals
from tests.executor.memory_backend import MemoryBackend
from tests.executor.test_playbook_moves import applied, routed, steps_of
from tests.executor.test_playbook_run import refusing
from tests.planner.playbook.sleepers_fleet import chat_beside_batch


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def backend(folder: StateFolder) -> MemoryBackend:
    found = MemoryBackend()
    applied(folder, found, chat_beside_batch())
    return found


def change(folder: StateFolder, backend: MemoryBackend, burst: str, *, more: tuple[BurstStep, ...] = (), **back: object) -> Refusals:
    fewer, whole = back.get("fewer", ()), bool(back.get("whole"))
    assert isinstance(fewer, tuple)
    return asyncio.run(change_refused(folder, backend, more=more, fewer=fewer, burst=burst, whole=whole))


def test_who_is_refused_for_two_bursts_is_let_in_after_both(folder: StateFolder, backend: MemoryBackend) -> None:
    steps = (refusing("batch"),)
    change(folder, backend, "chat x4", more=steps)
    change(folder, backend, "code x2", more=steps)
    assert change(folder, backend, "code x2", fewer=steps, whole=True).workloads == ("batch",)
    assert change(folder, backend, "chat x4", fewer=steps, whole=True).workloads == ()
    assert not folder.refused_path.exists()


def test_who_moved_for_two_bursts_comes_back_after_both(folder: StateFolder, backend: MemoryBackend) -> None:
    steps = steps_of(chat_beside_batch())
    for burst in ("chat x2", "chat x4"):
        change(folder, backend, burst, more=steps)
    assert change(folder, backend, "chat x4", fewer=steps, whole=True).moves.woken == ("chat-1",)
    assert routed(backend)["chat"] == ["chat-0", "chat-1"]
    assert not change(folder, backend, "chat x2", fewer=steps, whole=True).moves.names
    assert routed(backend)["chat"] == ["chat-0"]


def test_the_end_of_a_burst_is_that_of_all_that_was_done_for_it(folder: StateFolder, backend: MemoryBackend) -> None:
    """Also where the plan by which it ends has fewer steps than the one by which it began; one step back is only that one."""
    change(folder, backend, "chat x4", more=(refusing("batch"), refusing("chat")))
    assert refused_now(folder).bursts == {"chat x4": BurstClaim(workloads=("batch", "chat"))}
    assert change(folder, backend, "chat x4", fewer=(refusing("chat"),)).workloads == ("batch",)
    change(folder, backend, "chat x4", more=(refusing("chat"),))
    assert change(folder, backend, "chat x4", fewer=(refusing("chat"),), whole=True).workloads == ()
