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


def test_a_sleeper_that_died_and_finds_no_room_to_start_is_done_without(loop: Loop) -> None:
    """Its place is taken by who is awake. Everything else is repaired, and it is told; when there is room again, it starts."""
    loop.backend.engines["llama-0"].alive = False
    report = loop.once()
    assert report.failures == ()
    assert [line for line in report.actions if "llama" in line] == []
    assert any("llama-0" in line and "no room" in line for line in report.drift)
    loop.backend.engines["qwen-0"].alive = False
    repaired = loop.once(later_s=600.0)
    assert repaired.failures == ()
    assert [line for line in repaired.actions if "qwen" in line] == ["start qwen-0"]
    assert loop.backend.engines["qwen-0"].alive


def test_a_plan_with_a_sleeper_serves_from_an_empty_state(tmp_path: Path) -> None:
    empty = Loop(tmp_path / "state")
    for asleep, awake in (("llama-0", "qwen-0"), ("qwen-0", "llama-0")):
        goal = leading(empty.folder.load(), [ONE, TWO], {asleep: 1}, [], ROUTER)
        report = empty.once(goal)
        assert report.failures == ()
        assert empty.backend.engines[awake].alive
        assert [route.served_name for route in empty.backend.router.routes if route.backends] == [awake.removesuffix("-0")]
        empty = Loop(tmp_path / "another")
