"""Whatever happened to what runs, passes lead back to the plan; what cannot be mended is told and left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from executor.backends.protocol import Capabilities, EngineLoad, ObservedGpu
from executor.state.lock import locked
from planner.envelope import EngineOf
from planner.plan import MigPlace, Replica, state_hash
from tests.executor.reconcile.loops import Loop, two
from tests.executor.worlds import engine
from tests.sleepers import sleeper


def test_nothing_is_done_where_all_is_as_planned(loop: Loop) -> None:
    loop.apply(*two())
    before = loop.folder.state_path.read_bytes()
    report = loop.once()
    assert (report.outcome, report.actions, report.failures, report.drift) == ("steady", (), (), ())
    assert loop.backend.done == []
    assert loop.folder.state_path.read_bytes() == before


def test_invariant_29_a_dead_replica_starts_again_and_the_state_is_the_same_as_before(loop: Loop) -> None:
    loop.apply(*two())
    before, text = loop.folder.load(), loop.folder.state_path.read_bytes()
    loop.backend.engines["llama-0"].alive = False
    report = loop.once()
    assert (report.outcome, report.actions, report.drift) == ("changed", ("start llama-0",), ())
    # a plan that was made before the death can still be applied
    assert loop.folder.state_path.read_bytes() == text
    assert state_hash(loop.folder.load()) == state_hash(before)
    assert loop.once().outcome == "steady"


def test_a_replica_that_dies_again_and_again_is_started_later_and_later(loop: Loop) -> None:
    loop.apply(*two())
    waits = []
    for _ in range(5):
        loop.backend.engines["llama-0"].alive = False
        report = loop.once()
        waited_s = 0.0
        while "llama-0" not in loop.backend.engines or not loop.backend.engines["llama-0"].alive:
            assert report.drift[0].startswith("replica llama-0: failed ")
            report = loop.once(later_s=1.0)
            waited_s += 1.0
        waits.append(waited_s)
    assert waits == [0.0, 10.0, 20.0, 40.0, 80.0]
    # one that has lasted begins anew
    loop.once(later_s=600.0)
    loop.backend.engines["llama-0"].alive = False
    assert loop.once().actions == ("start llama-0",)


def test_a_permanent_failure_is_held_after_three_crashes_and_others_are_mended(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False
    loop.backend.fails = lambda name: "config" if name == "llama-0" else None
    tries = 0
    for _ in range(40):
        loop.once(later_s=30.0)
        tries += loop.backend.done.count("start llama-0")
    # the death and two starts
    assert tries == 2
    loop.backend.engines["qwen-0"].alive = False
    report = loop.once()
    assert report.actions == ("start qwen-0",)
    [line] = report.drift
    assert line.startswith("replica llama-0: is held: it failed 3 times, and the same command will fail again; change the plan, or mend")
    assert [replica.name for replica in loop.folder.load().replicas] == ["qwen-0"]

    # a loop that is started anew remembers; another command is another matter
    loop.reconciler = loop.fresh()
    assert loop.once(later_s=3600.0).actions == ()
    loop.backend.fails = lambda _: None
    changed = engine("llama-0", 3002)
    assert loop.once(loop.plan(changed, two()[1])).drift == ()
    assert loop.backend.done == ["start llama-0"]


@pytest.mark.parametrize("how", ["requests stand still", "no answer", "idle and mute"])
def test_a_hung_engine_is_stopped_and_started_but_not_for_one_late_answer(loop: Loop, how: str) -> None:
    loop.apply(*two())
    hung = loop.backend.engines["llama-0"]
    hung.load = EngineLoad(0, 0, 0.0, 5, 5, steps=5)
    loop.once()

    def break_it() -> None:
        if how == "requests stand still":
            hung.load = replace(hung.load, running=3)
        elif how == "no answer":
            hung.silent = True
        else:
            loop.backend.try_out = no_token  # type: ignore[method-assign]

    async def no_token(replica: Replica, limit_s: float) -> str | None:
        return "no answer within 10 s" if loop.backend.engines[replica.name] is hung else None

    break_it()
    acted: list[str] = []
    passes = 0
    while not acted and passes < 20:
        report = loop.once(later_s=10.0)
        acted = list(report.actions)
        passes += 1
        if not acted:
            assert loop.reconciler.unsure or report.drift == ()
    assert passes > 2
    assert acted[:4] == ["set_routes router", "drain llama-0", "stop llama-0", "start llama-0"]
    assert loop.backend.engines["llama-0"] is not hung
    assert loop.once(later_s=10.0).outcome == "steady"


def test_an_engine_that_is_slow_but_moves_is_left_alone(loop: Loop) -> None:
    loop.apply(*two())
    slow = loop.backend.engines["llama-0"]
    for step in range(20):
        slow.load = EngineLoad(8, 2, 0.5, 100, 100, steps=step // 2)
        assert loop.once(later_s=10.0).actions == ()


def test_another_command_is_replaced_once_it_can_be_spared(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].command = "something else"
    report = loop.once()
    assert report.actions == ("set_routes router", "drain llama-0", "stop llama-0", "start llama-0", "set_routes router")
    assert loop.once().outcome == "steady"


def test_an_engine_with_too_few_kv_blocks_is_started_anew_and_then_held(loop: Loop) -> None:
    loop.least_kv_blocks = lambda *_: 100
    loop.reconciler = loop.fresh()
    loop.apply(*two())
    starts = 0
    for _ in range(30):
        loop.backend.engines["llama-0"].load = EngineLoad(0, 0, 0.0, 0, 0, kv_blocks=90)
        report = loop.once(later_s=30.0)
        starts += loop.backend.done.count("start llama-0")
    assert starts == 2
    assert loop.backend.engines["llama-0"].alive
    assert "has 90 blocks of KV cache, and the plan needs 100" in report.drift[0]


def test_strays_are_stopped_and_a_router_that_is_gone_or_wrong_is_set_right(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["old-0"] = replace(loop.backend.engines["qwen-0"], pid=99)
    report = loop.once()
    assert report.actions == ("old-0: was left behind by an interrupted apply and is stopped",)
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
    loop.backend.router.settings = None
    assert loop.once().actions == ("set_routes router",)
    loop.backend.router.routes = ()
    assert loop.once().actions == ("set_routes router",)
    assert loop.once().outcome == "steady"


def test_while_somebody_else_works_nothing_is_looked_at(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False
    with locked(loop.folder.lock_path, "apply"):
        report = loop.once()
    assert report.outcome == "busy"
    assert "is in use: ullage apply" in report.drift[0]
    assert loop.once().actions == ("start llama-0",)


def test_a_dry_run_tells_the_actions_and_changes_nothing(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False
    before = {path: path.read_bytes() for path in sorted(loop.root.rglob("*")) if path.is_file()}
    goal = loop.plan(*two())
    report = asyncio.run(loop.reconciler.once(lambda: goal, dry_run=True))
    assert report.actions == ("start llama-0: 1.5 requests/s of llama",)
    assert {path: path.read_bytes() for path in sorted(loop.root.rglob("*")) if path.is_file()} == before


def test_a_journal_that_cannot_be_written_stops_the_pass_before_anything_is_done(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False

    def full(fd: int, raw: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("executor.state.journal.os.pwrite", full)
    report = loop.once()
    assert (report.outcome, loop.backend.done) == ("failed", [])
    assert "No space left on device; nothing more was done" in report.failures[0]
    monkeypatch.undo()
    assert loop.once().actions == ("start llama-0",)


def test_a_death_counts_once_also_when_the_loop_is_started_anew(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False
    loop.once()
    loop.backend.engines["llama-0"].alive = False
    for _ in range(3):
        report = loop.once()
        loop.reconciler = loop.fresh()
    assert report.drift[0].startswith("replica llama-0: failed 2 times, is tried again in 10 s")


def test_a_wake_is_no_start_and_waits_for_nothing(loop: Loop) -> None:
    item = sleeper("llama-0", 3000)
    loop.apply(item, two()[1])
    # somebody put it to sleep, and it failed a moment ago
    loop.backend.engines["llama-0"].load = EngineLoad(0, 0, 0.0, 0, 0, asleep=1)
    loop.reconciler._with.attempts.failed("llama-0", loop.backend.wanted_hash(item), "did not start", loop.now_s)
    assert [action for action in loop.once().actions if "llama-0" in action] == ["wake llama-0"]
    assert loop.once().outcome == "steady"


def test_a_wrong_mig_layout_is_set_right_and_a_gpu_that_is_gone_is_told(loop: Loop) -> None:
    loop.apply(*two())
    node = loop.folder.load().gpus[0].node
    loop.backend.capabilities = Capabilities(mig_layouts=True, reads_gpus=True)
    divided = (MigPlace(profile="3g.40gb", start=0),)
    # GPU 0 was divided after its replica had died
    loop.backend.engines["llama-0"].alive = False
    loop.backend.seen_gpus = tuple(ObservedGpu(node, index, (), None, layout) for index, layout in ((0, divided), (1, ())))
    report = loop.once()
    assert loop.backend.done == ["stop llama-0", "repartition 0", "start llama-0"]
    assert (report.outcome, report.drift) == ("changed", ())
    loop.backend.seen_gpus = loop.backend.seen_gpus[:1]
    report = loop.once()
    assert (report.actions, report.drift) == ((), (f"GPU 1 of {node} is gone",))


def test_late_answers_far_apart_are_no_hang(loop: Loop) -> None:
    loop.apply(*two())
    loop.once()
    loop.backend.engines["llama-0"].silent = True
    for _ in range(2):
        assert loop.once(later_s=600.0).actions == ()
    loop.backend.engines["llama-0"].silent = False
    assert loop.once(later_s=600.0).outcome == "steady"


def test_nobody_looks_while_somebody_else_works(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].load = EngineLoad(1, 0, 0.0, 5, 5, steps=5, finished_requests=41)
    loop.once()
    assert loop.reconciler.requests == {EngineOf("llama", f"llama-0/{loop.backend.engines['llama-0'].pid}"): 42}
    with locked(loop.folder.lock_path, "apply"):
        loop.once()
    assert loop.reconciler.requests is None
