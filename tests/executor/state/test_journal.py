"""The journal: append, torn ends, damage, and what is unfinished."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import JournalError
from executor.state.journal import Journal, Unfinished


def journal(path: Path) -> Journal:
    return Journal(path, now=lambda: "2026-01-01T00:00:00Z")


def begun(path: Path) -> Journal:
    made = journal(path)
    made.begin("p1", 0)
    made.intent(0, "start", "a")
    made.result(0, ok=True)
    made.intent(1, "start", "b")
    return made


def test_what_is_begun_and_not_ended_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    begun(path)
    assert journal(path).unfinished() == Unfinished("p1", done=frozenset({0}), begun=frozenset({1}), reason="")


def test_a_failed_action_is_neither_done_nor_begun(tmp_path: Path) -> None:
    made = begun(tmp_path / "j")
    made.result(1, ok=False, detail="no memory")
    made.end(ok=False, detail="no memory")
    assert journal(tmp_path / "j").unfinished() == Unfinished("p1", frozenset({0}), frozenset(), "no memory")


def test_a_good_end_or_a_destroy_leaves_nothing_unfinished(tmp_path: Path) -> None:
    ended, destroyed = begun(tmp_path / "ended"), begun(tmp_path / "destroyed")
    ended.end(ok=True)
    destroyed.destroyed()
    assert journal(tmp_path / "ended").unfinished() is None
    assert journal(tmp_path / "destroyed").unfinished() is None


def test_a_second_attempt_at_the_same_plan_keeps_what_was_done_and_another_plan_does_not(tmp_path: Path) -> None:
    made = begun(tmp_path / "j")
    made.begin("p1", 1)
    again = made.unfinished()
    made.begin("p2", 1)
    other = made.unfinished()
    assert (again is not None, other) == (True, Unfinished("p2", frozenset(), frozenset(), ""))
    assert again is not None
    assert again.done == {0}


@given(cut_bytes=st.integers(min_value=1, max_value=400))
def test_a_file_cut_anywhere_loses_only_its_last_record(cut_bytes: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "j"
    begun(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:cut_bytes])
    kept = journal(path)
    whole = raw[:cut_bytes].count(b"\n")
    assert (len(kept.records), kept.torn) == (whole, not raw[:cut_bytes].endswith(b"\n"))
    kept.begin("p2", 3)
    assert [record["seq"] for record in journal(path).records] == list(range(1, whole + 2))


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begun(path)
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1][:10]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError, match="j:2: not a journal record with seq 2"):
        journal(path)


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begun(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:1] + lines[2:]))
    with pytest.raises(JournalError, match="seq 2"):
        journal(path)
