"""One at a time: two loops, and what a dead one leaves of its lock."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from executor.backends.protocol import Say
from executor.processes import proc
from executor.reconcile.memory import PassReport
from executor.state.lock import holder
from planner.plan import Replica
from tests.executor.reconcile.loops import Loop


def test_two_loops_at_once_start_a_replica_once(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.backend.engines["llama-0"].alive = False
    first, second = loop.reconciler, loop.fresh()
    goal = loop.plan(*loop.folder.load().replicas)
    start = loop.backend.start

    async def both() -> tuple[PassReport, PassReport, PassReport]:
        inside, gate = asyncio.Event(), asyncio.Event()

        async def slowly(replica: Replica, say: Say) -> None:
            inside.set()
            await gate.wait()
            await start(replica, say)

        monkeypatch.setattr(loop.backend, "start", slowly)
        working = asyncio.create_task(first.once(lambda: goal))
        await inside.wait()
        meanwhile = await second.once(lambda: goal)
        gate.set()
        return await working, meanwhile, await second.once(lambda: goal)

    mended, meanwhile, after = asyncio.run(both())
    assert (mended.outcome, mended.actions) == ("changed", ("start llama-0",))
    assert (meanwhile.outcome, meanwhile.actions) == ("busy", ())
    assert "is in use: ullage reconcile" in meanwhile.drift[0]
    assert (after.outcome, after.drift) == ("steady", ())
    assert loop.backend.done.count("start llama-0") == 1


@pytest.mark.parametrize("left", ["", "{", "not json", "{}", '{"pid": null}', "dead"])
def test_a_lock_that_a_dead_process_left_holds_nobody_up(loop: Loop, left: str) -> None:
    if left == "dead":
        ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
        owner = {"purpose": "reconcile", "pid": int(ended.stdout), "owner": "nobody", "since": "2026-01-01T00:00:00+00:00"}
        left = json.dumps(owner)
    loop.folder.lock_path.write_text(left, encoding="utf-8")
    assert holder(loop.folder.lock_path) is None
    loop.backend.engines["llama-0"].alive = False
    assert loop.once().actions == ("start llama-0",)
    assert loop.once().outcome == "steady"


def test_a_pid_that_is_somebody_elses_by_now_holds_nothing(loop: Loop) -> None:
    loop.folder.create()
    started = proc.facts(os.getpid())
    assert started is not None
    owner = {"purpose": "apply", "pid": os.getpid(), "start_ticks": started.start_ticks, "owner": "me", "since": "now"}
    loop.folder.lock_path.write_text(json.dumps(owner), encoding="utf-8")
    assert holder(loop.folder.lock_path) == f"ullage apply of me, process {os.getpid()}, since now"
    loop.folder.lock_path.write_text(json.dumps({**owner, "start_ticks": started.start_ticks - 1}), encoding="utf-8")
    assert holder(loop.folder.lock_path) is None
