"""A plan file that people edit while the loop reads it: what breaks the checker is refused, and the last good one is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.plan import to_json
from tests.executor.reconcile.loops import Loop
from tests.sound_plans import shared
from ullage.keeping import Keeper


def too_much_memory(plan: dict[str, Any]) -> None:
    for replica in plan["desired"]["replicas"]:
        replica["args"]["kv_cache_memory_bytes"] *= 100


def one_port_for_all(plan: dict[str, Any]) -> None:
    for replica in plan["desired"]["replicas"]:
        replica["args"]["port"] = 3000


def unknown_field(plan: dict[str, Any]) -> None:
    plan["desired"]["hope"] = 1


@pytest.mark.parametrize(
    "edit", [too_much_memory, one_port_for_all, unknown_field, None], ids=lambda edit: getattr(edit, "__name__", "cut")
)
def test_a_plan_that_breaks_the_checker_is_refused_and_the_last_one_is_kept(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None] | None
) -> None:
    loop = Loop(tmp_path / "state")
    path = tmp_path / "plan.json"
    path.write_text(to_json(shared()), encoding="utf-8")
    read_goal = Keeper(loop.folder, path, None, None).read_goal
    assert loop.once(read_goal()).failures == ()
    before, goal = loop.folder.load(), loop.folder.goal_path.read_bytes()
    assert before.replicas == shared().desired.replicas

    value = json.loads(path.read_bytes())
    if edit is not None:
        edit(value)
    text = json.dumps(value)
    path.write_text(text if edit is not None else text[:-100], encoding="utf-8")
    victim = before.replicas[0].name
    loop.backend.engines[victim].alive = False
    report = loop.once_from(read_goal)
    assert report.outcome == "failed"
    assert "plan.json" in report.failures[0]
    assert report.actions == (f"start {victim}",)
    assert (loop.folder.load(), loop.folder.goal_path.read_bytes()) == (before, goal)
    path.write_text(to_json(shared()), encoding="utf-8")
    assert loop.once_from(read_goal).outcome == "steady"
