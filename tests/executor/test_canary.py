"""Changed replicas are tried with a part of the requests; a change that does worse is taken back, and not tried again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.applying.destroy import destroy
from executor.backends.probes import read_latencies
from executor.backends.protocol import Latencies
from executor.errors import InterruptedApplyError, RolledBackError, StartError
from executor.reconcile.memory import recall
from executor.reconcile.reconciler import Reconciler
from executor.state.goal import goal_of
from executor.waiting import wait_until
from planner.plan import Plan, Replica, Route
from planner.rollout import canary_routes
from planner.rollout_rules import Rollout
from planner.routes import routes_for, total_weight
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine

OLD = (engine("llama-0", 3000), engine("llama-1", 3001, gpu=1), engine("qwen-0", 3002, gpu=2))
# one more beside the old ones, on a GPU of its own
NEW = (*OLD, engine("llama-2", 3003, gpu=3))


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    made = Loop(tmp_path / "state", rollout=Rollout(canary_fraction=0.1, window_s=0.05))
    made.apply(*OLD)
    made.backend.router.switches.clear()
    return made


def apply(loop: Loop, plan: Plan) -> None:
    asyncio.run(apply_to(plan, loop.folder, loop.backend, loop.events.append))


def times(slow: Callable[[Replica], bool]) -> Callable[[Replica, int], Latencies]:
    """A hundred requests between two readings: all within their goal, or of slow replicas only a half."""

    def histogram(replica: Replica, reading: int) -> Latencies:
        within = 50 if slow(replica) else 100
        return Latencies(((60.0, within * reading), (float("inf"), 100 * reading)), ((0.01, 100 * reading), (float("inf"), 100 * reading)))

    return histogram


def llama_weights(routes: tuple[Route, ...]) -> dict[str, int]:
    (route,) = [route for route in routes if route.served_name == "llama"]
    return {backend.replica: backend.weight for backend in route.backends}


def test_a_new_replica_gets_a_tenth_at_first_and_its_part_later(loop: Loop) -> None:
    loop.backend.histogram = times(lambda _: False)
    apply(loop, loop.plan(*NEW))
    assert [llama_weights(routes) for routes in loop.backend.router.switches] == [
        {"llama-0": 450, "llama-1": 450, "llama-2": 100},
        {"llama-0": 334, "llama-1": 333, "llama-2": 333},
    ]
    assert [event.detail for event in loop.events if event.what == "note"] == ["watched for 0.05 s with a part of the requests"]


def test_a_new_replica_that_is_slower_than_the_others_is_taken_back(loop: Loop) -> None:
    before = loop.folder.load()
    loop.backend.histogram = times(lambda replica: replica.name == "llama-2")
    with pytest.raises(RolledBackError, match=r"llama-2 does worse than before: \d+ of \d+ requests kept their goals(?s:.*)taken back"):
        apply(loop, loop.plan(*NEW))
    after = loop.folder.load()
    assert (after.replicas, after.routes, after.serial) == (before.replicas, before.routes, 3)
    assert set(loop.backend.engines) == {"llama-0", "llama-1", "qwen-0"}
    assert loop.once().outcome == "steady"


def test_where_all_are_slow_the_new_one_is_not_to_blame(loop: Loop) -> None:
    loop.backend.histogram = times(lambda _: True)
    apply(loop, loop.plan(*NEW))
    assert len(loop.folder.load().replicas) == 4


def test_one_that_dies_or_does_not_start_is_taken_back(loop: Loop) -> None:
    loop.backend.fails = lambda name: "config" if name == "llama-2" else None
    with pytest.raises(RolledBackError, match="llama-2: does not start"):
        apply(loop, loop.plan(*NEW))
    assert [replica.name for replica in loop.folder.load().replicas] == ["llama-0", "llama-1", "qwen-0"]

    loop.backend.fails = lambda _: None

    def dies(replica: Replica, reading: int) -> Latencies:
        if replica.name == "llama-2":
            loop.backend.engines["llama-2"].alive = False
        return Latencies((), ())

    loop.backend.histogram = dies
    with pytest.raises(RolledBackError, match="llama-2 does worse than before: it ended while it was watched"):
        apply(loop, loop.plan(*NEW))
    assert loop.once().outcome == "steady"


def test_the_loop_does_not_try_again_what_it_took_back_until_the_plan_is_another(loop: Loop) -> None:
    old = goal_of(loop.folder)
    goal = loop.plan(*NEW)
    loop.backend.histogram = times(lambda replica: replica.name == "llama-2")
    report = loop.once(goal)
    assert report.outcome == "failed"
    assert report.failures[-1] == "the change was taken back: what ran before runs again"
    assert goal_of(loop.folder) == old
    for _ in range(2):
        report = loop.once(goal)
        assert (report.outcome, report.actions) == ("steady", ())
        assert report.drift[0].startswith("the plan was taken back and is not tried again: replica llama-2 does worse than before")
    # what it keeps instead is mended
    loop.backend.engines["qwen-0"].alive = False
    assert loop.once(goal).actions == ("start qwen-0",)
    loop.backend.histogram = times(lambda _: False)
    other = loop.plan(*OLD, engine("llama-3", 3004, gpu=3))
    assert loop.once(other).drift == ()
    assert "llama-3" in loop.backend.engines


def test_weights_of_a_canary_add_up_and_leave_other_models_alone() -> None:
    before, after = routes_for(OLD), routes_for(NEW)
    tried = canary_routes(before, after, {"llama-2"}, 0.1)
    assert [sum(backend.weight for backend in route.backends) for route in tried] == [total_weight(3), total_weight(1)]
    assert tried[1] == after[1]
    assert canary_routes((), after, {"llama-2"}, 0.1) == after


def test_histograms_are_read_from_metrics() -> None:
    page = (
        'vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="a"} 3.0\n'
        'vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="a"} 5.0\n'
        'vllm:inter_token_latency_seconds_bucket{le="0.01",model_name="a"} 7.0\n'
        'vllm:inter_token_latency_seconds_bucket{le="+Inf",model_name="a"} 9.0\n'
    )
    found = read_latencies(page)
    assert found == Latencies(((0.1, 3), (float("inf"), 5)), ((0.01, 7), (float("inf"), 9)))
    whole = page + 'vllm:request_time_per_output_token_seconds_bucket{le="+Inf",model_name="a"} 4.0\n'
    assert read_latencies(whole).tpot == ((float("inf"), 4),)


def test_what_the_change_does_not_touch_is_no_reason_to_take_it_back(loop: Loop) -> None:
    goal = loop.plan(*NEW)
    loop.backend.histogram = times(lambda _: False)
    loop.backend.fails = lambda name: "crashed" if name == "qwen-0" else None
    loop.backend.engines["qwen-0"].alive = False
    report = loop.once(goal)
    assert "llama-2" in loop.backend.engines
    assert [line for line in report.drift if "taken back" in line] == []
    loop.backend.fails = lambda _: None
    assert loop.once(goal, later_s=60.0).drift == ()


def test_the_same_plan_again_is_never_taken_back_to_an_older_one(loop: Loop) -> None:
    apply(loop, loop.plan(*NEW))
    loop.backend.engines["qwen-0"].alive = False
    loop.backend.fails = lambda name: "crashed" if name == "qwen-0" else None
    with pytest.raises(StartError):
        apply(loop, loop.plan(*NEW))
    assert "llama-2" in loop.backend.engines


def test_after_a_destroy_there_is_nothing_to_go_back_to(loop: Loop) -> None:
    destroy(loop.folder.root, open_backend=lambda *_: loop.backend)
    loop.backend.fails = lambda name: "config" if name == "llama-2" else None
    with pytest.raises(StartError):
        apply(loop, loop.plan(*NEW))


def test_a_watch_that_is_cut_off_ends_at_once_and_the_old_routes_come_back(loop: Loop) -> None:
    loop.rollout = Rollout(canary_fraction=0.1, window_s=3600.0)
    plan = loop.plan(*NEW)

    async def cut_off() -> None:
        work = asyncio.create_task(apply_to(plan, loop.folder, loop.backend, loop.events.append))
        assert await wait_until(lambda: bool(loop.backend.router.switches), 60.0)
        work.cancel()
        await asyncio.wait_for(asyncio.wait({work}), 60.0)
        assert isinstance(work.exception(), InterruptedApplyError)

    asyncio.run(cut_off())
    assert llama_weights(loop.folder.load().routes) == {"llama-0": 500, "llama-1": 500}


def test_a_plan_that_was_taken_back_is_not_tried_again_though_it_is_made_anew(loop: Loop) -> None:
    loop.backend.histogram = times(lambda replica: replica.name == "llama-2")
    assert loop.once(loop.plan(*NEW)).outcome == "failed"
    # against another state, and by a loop that was started anew
    loop.reconciler = loop.fresh()
    assert recall(loop.folder.reconcile_path).rejected
    loop.reconciler = Reconciler(loop.reconciler._with, (), recall(loop.folder.reconcile_path).rejected)
    report = loop.once(loop.plan(*NEW))
    assert (report.actions, "is not tried again" in report.drift[0]) == ((), True)


def test_requests_of_a_looser_workload_are_no_regression(loop: Loop) -> None:
    plan = loop.plan(*NEW)
    tight = next(item for item in plan.desired.workloads if item.served_name == "llama")
    loose = tight.model_copy(update={"name": "batch", "ttft_slo_s": 120.0})
    desired = plan.desired.model_copy(update={"workloads": (*plan.desired.workloads, loose)})
    # half of the requests take more than a minute, and nobody else serves any
    halves = times(lambda _: True)
    loop.backend.histogram = lambda item, reading: halves(item, reading) if item.name == "llama-2" else Latencies((), ())
    apply(loop, plan.model_copy(update={"desired": desired}))
    assert "llama-2" in loop.backend.engines


def test_an_apply_that_is_interrupted_on_the_way_back_says_so(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("executor.applying.apply.roll_back", cut_off)
    loop.backend.fails = lambda name: "config" if name == "llama-2" else None
    with pytest.raises(InterruptedApplyError, match=r"(?s)llama-2: does not start.*interrupted on the way back"):
        apply(loop, loop.plan(*NEW))


def test_what_stands_in_place_of_the_goal_does_not_keep_anything_running(loop: Loop) -> None:
    loop.folder.goal_path.unlink()
    loop.folder.goal_path.mkdir()
    destroy(loop.folder.root, open_backend=lambda *_: loop.backend)
    assert loop.backend.engines == {}
