"""Files of the state folder that are cut off, damaged or of another version: clear words, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.errors import JournalError
from executor.state.journal import Journal
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine

DAMAGED = {
    "empty": b"",
    "cut off": b'{"version": 1, "repli',
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "another thing": b'{"a": 1}',
    "zeros": bytes(200),
    "deep": b"[" * 100_000,
    "older": b'{"schema_version": 0}',
    "newer": b'{"schema_version": 99}',
}


def test_a_journal_cut_anywhere_in_its_last_record_loses_that_record_alone(loop: Loop) -> None:
    loop.backend.engines["llama-0"].alive = False
    loop.once()
    whole = loop.folder.journal_path.read_bytes()
    records = Journal(loop.folder.journal_path).records
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for length in range(last, len(whole)):
        loop.folder.journal_path.write_bytes(whole[:length])
        journal = Journal(loop.folder.journal_path)
        assert (journal.records, journal.torn) == (records[:-1], length > last)
        # a second death would have to wait
        loop.folder.reconcile_path.unlink()
        loop.backend.engines["llama-0"].alive = False
        loop.reconciler = loop.fresh()
        report = loop.once()
        assert (report.actions, report.failures) == (("start llama-0",), ())
        assert Journal(loop.folder.journal_path).unfinished() is None


def test_a_journal_damaged_in_the_middle_stops_the_loop_but_nothing_that_runs(loop: Loop) -> None:
    lines = loop.folder.journal_path.read_bytes().splitlines(keepends=True)
    loop.folder.journal_path.write_bytes(b"".join([*lines[:1], b"{}\n", *lines[2:]]))
    with pytest.raises(JournalError):
        Journal(loop.folder.journal_path)
    loop.backend.engines["llama-0"].alive = False
    report = loop.once()
    assert report.outcome == "failed"
    assert "journal.jsonl:2: not a journal record" in report.failures[0]
    assert loop.backend.engines["qwen-0"].alive
    assert loop.backend.done == []


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_state_is_told_and_left_as_it_is(loop: Loop, how: str) -> None:
    loop.folder.state_path.write_bytes(DAMAGED[how])
    report = loop.once()
    assert (report.outcome, loop.backend.done) == ("failed", [])
    assert "state.json" in report.failures[0]
    assert "put back a copy from" in report.failures[0]
    assert loop.folder.state_path.read_bytes() == DAMAGED[how]
    # as the words say
    copies = sorted(loop.folder.history.glob("*.json"))
    loop.folder.state_path.write_bytes(copies[-1].read_bytes())
    assert loop.once().outcome == "steady"


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_goal_is_told_once_and_a_plan_that_is_given_takes_its_place(loop: Loop, how: str) -> None:
    goal = loop.plan(engine("llama-0", 3000), engine("mistral-0", 3002, gpu=2))
    loop.folder.goal_path.write_bytes(DAMAGED[how])
    report = loop.once()
    assert (report.outcome, loop.backend.done) == ("failed", [])
    [line] = report.failures
    assert "goal.json" in line
    assert "apply a plan, or give `ullage reconcile` one" in line
    assert loop.folder.goal_path.read_bytes() == DAMAGED[how]
    report = loop.once(goal)
    assert (report.failures, report.drift) == ((), ())
    assert loop.once().outcome == "steady"
    assert set(loop.backend.engines) == {"llama-0", "mistral-0"}


def wrong_attempts(path: Path) -> list[bytes]:
    """What the loop remembers, each number and each text of an attempt replaced by something else."""
    value = json.loads(path.read_bytes())
    [attempt] = value["attempts"]
    return [
        json.dumps({**value, "attempts": [{**attempt, name: wrong}]}).encode()
        for name in attempt
        for wrong in (None, "x", [1], {"a": 1}, -1)
    ]


def test_what_the_loop_remembers_may_be_damaged_in_any_way(loop: Loop) -> None:
    loop.backend.fails = lambda name: "crashed" if name == "llama-0" else None
    loop.backend.engines["llama-0"].alive = False
    loop.once()
    for raw in (*DAMAGED.values(), *wrong_attempts(loop.folder.reconcile_path)):
        loop.folder.reconcile_path.write_bytes(raw)
        loop.backend.fails = lambda _: None
        loop.reconciler = loop.fresh()
        report = loop.once(later_s=10_000.0)
        assert report.failures == (), raw[:200]
        assert loop.once().outcome == "steady", raw[:200]
