"""A replica that sleeps is neither hung nor dead; one that nobody wants asleep comes back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from planner.plan import Replica
from tests.executor.reconcile.loops import ROUTER, Loop
from tests.sleepers import first_plan, leading, second_plan, sleeper

ONE, TWO = sleeper("llama-0"), sleeper("qwen-0", 8101)


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """The first sleeps, the second has its place."""
    made = Loop(tmp_path / "state")
    asyncio.run(apply_to(first_plan(ONE, router=ROUTER), made.folder, made.backend))
    asyncio.run(apply_to(second_plan(ONE, TWO, made.folder.load(), router=ROUTER), made.folder, made.backend))
    return made


@pytest.mark.parametrize("told", [True, False], ids=["its metrics tell", "only the state tells"])
def test_requests_that_wait_in_a_sleeper_do_not_make_it_hung(loop: Loop, told: bool) -> None:
    engine = loop.backend.engines["llama-0"]
    engine.load = replace(engine.load, waiting=3, asleep=1 if told else None)
    for _ in range(8):
        report = loop.once(later_s=30.0)
        assert (report.outcome, report.actions, report.drift) == ("steady", (), ())
    # nor is it tried with a request of one token, which would wait as well
    engine.load = replace(engine.load, waiting=0)
    for _ in range(8):
        assert loop.once(later_s=60.0).outcome == "steady"


def restarted(loop: Loop, item: Replica) -> list[str]:
    report = loop.once()
    assert report.failures == ()
    assert loop.once().outcome == "steady"
    return [line for line in report.actions if item.name in line]


def test_one_that_somebody_put_to_sleep_is_woken_again(loop: Loop) -> None:
    asyncio.run(loop.backend.sleep(TWO, 1))
    assert restarted(loop, TWO) == ["wake qwen-0"]
    assert loop.backend.engines["llama-0"].load.asleep == 1


def test_a_sleeper_that_died_starts_and_sleeps_where_there_is_room(loop: Loop) -> None:
    small = [sleeper("llama-0", kv_mib=8192), sleeper("qwen-0", 8101, kv_mib=8192)]
    loop.backend.engines.clear()
    goal = leading(loop.folder.load(), small, {"llama-0": 1}, [], ROUTER)
    assert loop.once(goal).failures == ()
    assert loop.once(goal).outcome == "steady"
    loop.backend.engines["llama-0"].alive = False
    assert loop.once(goal).actions == ("start llama-0", "drain llama-0", "sleep llama-0")
    assert loop.once(goal).outcome == "steady"


def test_one_that_woke_by_itself_is_put_to_sleep_again(loop: Loop) -> None:
    asyncio.run(loop.backend.wake(ONE))
    assert restarted(loop, ONE) == ["drain llama-0", "sleep llama-0"]
