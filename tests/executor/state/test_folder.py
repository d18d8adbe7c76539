"""The state folder: atomic writes, damaged and newer files, history, and the lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from executor.errors import LockedError, StateError
from executor.file_names import file_name
from executor.state.folder import StateFolder
from executor.state.lock import locked
from planner.plan import RouterPlan, State, state_hash
from profiles.regular_files import write_atomic

ROUTED = State(serial=3, router=RouterPlan(host="127.0.0.1", port=8080, admin_port=9901))


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.create()
    return made


def test_nothing_applied_is_the_empty_state(tmp_path: Path) -> None:
    assert StateFolder(tmp_path / "absent").load() == State()
    assert not (tmp_path / "absent").exists()


def test_what_was_saved_is_loaded_and_remembered(folder: StateFolder) -> None:
    folder.save(ROUTED)
    folder.save(State(serial=4))
    assert folder.load() == State(serial=4)
    assert folder.past(state_hash(ROUTED)) == ROUTED
    assert folder.past("0" * 64) is None


def test_history_keeps_the_newest_states_only(folder: StateFolder) -> None:
    for serial in range(30):
        folder.save(State(serial=serial))
    assert len(list(folder.history.glob("*.json"))) == 20
    assert folder.past(state_hash(State(serial=29))) is not None
    assert folder.past(state_hash(State(serial=5))) is None


def test_the_many_writes_of_one_apply_do_not_push_earlier_states_out_of_the_history(folder: StateFolder) -> None:
    folder.save(State(serial=1))
    for port in range(2001, 2060):
        folder.save(State(serial=2, router=RouterPlan(host="127.0.0.1", port=port, admin_port=9901)))
    assert folder.past(state_hash(State(serial=1))) == State(serial=1)
    assert folder.past(state_hash(folder.load())) == folder.load()


def test_a_full_disk_is_named_with_the_file_and_leaves_no_half_one(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder.save(ROUTED)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomic(folder.router / "rds.yaml", "text")
    assert caught.value.filename == str(folder.router / "rds.yaml")
    with pytest.raises(StateError, match=r"state.json: cannot be written: No space left on device"):
        folder.save(State(serial=4))
    monkeypatch.undo()
    assert (folder.load(), list(folder.root.rglob("*.tmp"))) == (ROUTED, [])


def test_the_lock_holds_on_a_full_disk_too(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with locked(folder.lock_path, "destroy"), pytest.raises(LockedError, match="has not written its name"), locked(folder.lock_path, "x"):
        pass


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{not json", "not JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"schema_version": 2}', "schema_version is 2"),
        (b'{"schema_version": 1, "serial": "x"}', "serial"),
    ],
)
def test_a_damaged_or_newer_state_is_an_error_and_stays_as_it_is(folder: StateFolder, content: bytes, expected: str) -> None:
    folder.state_path.write_bytes(content)
    with pytest.raises(StateError, match=expected) as caught:
        folder.load()
    assert "history" in str(caught.value)
    assert folder.state_path.read_bytes() == content


def test_a_failed_write_leaves_the_old_state(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save(ROUTED)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left"):
        folder.save(State(serial=4))
    assert folder.load() == ROUTED


def test_the_second_holder_is_told_who_holds_the_lock(folder: StateFolder) -> None:
    with (
        locked(folder.lock_path, "apply"),
        pytest.raises(LockedError, match=f"ullage apply of .*process {os.getpid()}, since"),
        locked(folder.lock_path, "destroy"),
    ):
        pass
    with locked(folder.lock_path, "destroy"):
        pass


def test_file_names_neither_leave_the_folder_nor_collide() -> None:
    names = ["a", "a/b", "..", "a%2Fb", ".a", "%2E."]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert not any("/" in each or each.startswith(".") for each in files)


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(folder: StateFolder) -> None:
    precious = folder.root / "precious"
    precious.write_text("text")
    folder.lock_path.symlink_to(precious)
    with pytest.raises(StateError, match=r"lock: cannot be opened: is a link"), locked(folder.lock_path, "apply"):
        pytest.fail("the lock was taken")
    assert precious.read_text() == "text"
