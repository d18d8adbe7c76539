"""The time of day may jump: it stands in records only. What counts is the clock of the machine, which begins anew with it."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor import reconcile
from executor.reconcile.reconciler import Reconciler
from tests.executor.reconcile.loops import Loop

# What tells the time of day.
OF_DAY = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def test_the_loop_asks_nobody_for_the_time_of_day_but_for_its_records() -> None:
    """utc_today is given to it as `today`, which the next test turns."""
    found = []
    for path in Path(reconcile.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) in OF_DAY]
    assert found == []


def test_back_off_and_patience_do_not_follow_the_time_of_day(loop: Loop) -> None:
    days = iter([datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 1999, 2099)] * 200)
    loop.reconciler = Reconciler(replace(loop.fresh()._with, today=lambda: next(days)))
    loop.backend.fails = lambda name: "crashed" if name == "llama-0" else None
    loop.backend.engines["llama-0"].alive = False
    loop.backend.engines["qwen-0"].silent = True
    starts, restarts, waited_s = 0, 0, 0.0
    while waited_s < 29.0:
        loop.once(later_s=1.0)
        starts += loop.backend.done.count("start llama-0")
        restarts += loop.backend.done.count("start qwen-0")
        waited_s += 1.0
    # at once, and 10 s later; the death counts as the first failure
    assert (starts, restarts) == (2, 0)
    for _ in range(4):
        loop.once(later_s=1.0)
        restarts += loop.backend.done.count("start qwen-0")
    assert restarts == 1


@pytest.mark.parametrize(("boot", "tried"), [("same", False), ("another", True)])
def test_what_failed_before_the_machine_was_started_again_is_tried_at_once(loop: Loop, boot: str, tried: bool) -> None:
    loop.backend.fails = lambda name: "crashed" if name == "llama-0" else None
    loop.backend.engines["llama-0"].alive = False
    for _ in range(3):
        loop.once(later_s=60.0)
    if boot == "another":
        value = json.loads(loop.folder.reconcile_path.read_bytes())
        loop.folder.reconcile_path.write_text(json.dumps({**value, "boot_id": "another"}), encoding="utf-8")
        loop.now_s = 5.0
    loop.reconciler = loop.fresh()
    loop.once()
    assert ("start llama-0" in loop.backend.done) == tried
