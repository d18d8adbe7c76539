"""Steps of a playbook by which replicas sleep, stop and wake: done, kept, repeated after a crash, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.applying.destroy import destroy
from executor.applying.playbook_run import change_refused
from executor.errors import StateError
from executor.reconcile.attempts import Attempts, BackOff
from executor.reconcile.health import HealthWatch, Patience
from executor.reconcile.memory import PassReport
from executor.reconcile.observe import Observer
from executor.reconcile.reconciler import Reconciler, Surroundings
from executor.reconcile.run import unknown_kv
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from executor.state.refused import refused_now
from executor.status import StatusReport, status_of
from planner.plan import BurstStep, Desired, Plan, Replica, SleepLevel, State, state_of
from planner.playbook.refusals import Refusals
from planner.schedule.sleeping import without_absent
from planner.transitions.change import change
from tests.executor.memory_backend import MemoryBackend
from tests.executor.test_playbook_run import refusing
from tests.planner.playbook.sleepers_fleet import before_and_after, chat_beside_batch
from ullage.views.status_text import status_text


class Dying(MemoryBackend):
    """Is gone before or after the n-th thing that it is told to do, once."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.after = False

    async def _counted(self, work: Callable[[], Awaitable[None]]) -> None:
        self.left -= 1
        dies = self.left == 0
        if not dies or self.after:
            await work()
        if dies:
            raise KeyboardInterrupt

    async def sleep(self, replica: Replica, level: SleepLevel) -> None:
        await self._counted(lambda: MemoryBackend.sleep(self, replica, level))

    async def stop(self, name: str) -> None:
        await self._counted(lambda: MemoryBackend.stop(self, name))

    async def wake(self, replica: Replica) -> None:
        await self._counted(lambda: MemoryBackend.wake(self, replica))


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def applied(folder: StateFolder, backend: MemoryBackend, desired: Desired) -> State:
    """As a schedule leads there: who sleeps was awake before."""
    for world in before_and_after(desired):
        asyncio.run(apply_to(change(folder.load(), world), folder, backend))
    assert folder.load().asleep == desired.asleep
    backend.done.clear()
    return folder.load()


def move(kind: str, replica: str) -> BurstStep:
    blank = refusing("").model_dump() | {"kind": kind, "replica": replica, "level": 1 if kind == "sleep" else None}
    return BurstStep.model_validate(blank)


def steps_of(desired: Desired) -> tuple[BurstStep, ...]:
    batch = next(item for item in desired.replicas if item.served_name == "batch")
    return refusing("batch"), move("sleep" if batch.args.enable_sleep_mode else "stop", "batch-0"), move("wake", "chat-1")


def run(folder: StateFolder, backend: MemoryBackend, *steps: BurstStep, plan: Plan | None = None) -> Refusals:
    return asyncio.run(change_refused(folder, backend, more=steps, plan=plan))


def undo(folder: StateFolder, backend: MemoryBackend, *steps: BurstStep) -> Refusals:
    return asyncio.run(change_refused(folder, backend, fewer=steps))


def seen(folder: StateFolder, backend: MemoryBackend) -> StatusReport:
    return asyncio.run(status_of(folder, backend))


def passed(folder: StateFolder, backend: MemoryBackend, goal: Plan | None = None) -> PassReport:
    watch = HealthWatch(Patience(silent_s=30.0, still_s=30.0, try_every_s=60.0, try_limit_s=10.0))
    surroundings = Surroundings(
        folder=folder,
        backend=backend,
        observer=Observer(backend, watch, unknown_kv, lambda: 1000.0),
        attempts=Attempts(BackOff(), lambda: 0.0, ()),
        clock=lambda: 1000.0,
    )
    return asyncio.run(Reconciler(surroundings).once(lambda: goal or goal_of(folder)))


def routed(backend: MemoryBackend) -> dict[str, list[str]]:
    return {route.served_name: [item.replica for item in route.backends] for route in backend.router.routes}


THEN = {"batch": [], "chat": ["chat-0", "chat-1"]}
BEFORE = {"batch": ["batch-0"], "chat": ["chat-0"]}


@pytest.mark.parametrize("sleeps", [True, False], ids=["sleeps", "stops"])
def test_the_steps_are_done_kept_and_taken_back(folder: StateFolder, sleeps: bool) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch(sleeps=sleeps)
    before = applied(folder, backend, desired)
    steps = steps_of(desired)
    assert routed(backend) == BEFORE
    found = run(folder, backend, *steps, plan=goal_of(folder))
    leaves = ["drain batch-0", "sleep batch-0"] if sleeps else ["drain batch-0", "stop batch-0"]
    assert backend.done == [*leaves, "wake chat-1"]
    assert (found.workloads, found.moves.woken) == (("batch",), ("chat-1",))
    assert routed(backend) == THEN
    # repeated, nothing is left to do; a pass leaves it alone, and starts again what dies of it
    backend.done.clear()
    run(folder, backend, *steps)
    assert (backend.done, passed(folder, backend).outcome) == ([], "steady")
    backend.engines["chat-1"].alive = False
    assert passed(folder, backend).actions[:1] == ("start chat-1",)
    assert passed(folder, backend).outcome == "steady"
    assert routed(backend) == THEN
    backend.done.clear()
    assert undo(folder, backend, *steps) == Refusals()
    comes = ["wake batch-0"] if sleeps else ["start batch-0"]
    assert backend.done == ["drain chat-1", "sleep chat-1", *comes]
    assert routed(backend) == BEFORE
    assert folder.load() == before
    assert not folder.refused_path.exists()
    assert passed(folder, backend).outcome == "steady"


def test_status_names_who_moved_and_finds_nothing_missing(folder: StateFolder) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch(sleeps=False)
    applied(folder, backend, desired)
    run(folder, backend, *steps_of(desired))
    report = seen(folder, backend)
    assert (report.drift, report.refused, report.burst_moves) == ((), ("batch",), ("stopped: batch-0", "awake: chat-1"))
    assert "while another workload has a burst: stopped: batch-0; awake: chat-1 (`ullage playbook run" in status_text(report)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("sleeps", [True, False], ids=["sleeps", "stops"])
@pytest.mark.parametrize("by_pass", [True, False], ids=["by a pass", "by hand"])
def test_a_crash_anywhere_is_made_good(folder: StateFolder, sleeps: bool, number: int, after: bool, by_pass: bool) -> None:
    backend, desired = Dying(), chat_beside_batch(sleeps=sleeps)
    before = applied(folder, backend, desired)
    steps = steps_of(desired)

    def crashed(work: Callable[[], object]) -> None:
        backend.left, backend.after = number, after
        with pytest.raises(KeyboardInterrupt):
            work()

    crashed(lambda: run(folder, backend, *steps))
    if by_pass:
        assert passed(folder, backend).failures == ()
    else:
        run(folder, backend, *steps)
    assert routed(backend) == THEN
    assert {item.name for item in folder.load().asleep} == ({"batch-0"} if sleeps else set())
    if sleeps or number == 1:
        crashed(lambda: undo(folder, backend, *steps))
        # whoever is refused stays so until the way back is at its end
        assert refused_now(folder).workloads == ("batch",)
    if by_pass:
        assert passed(folder, backend).failures == ()
    undo(folder, backend, *steps)
    assert routed(backend) == BEFORE
    assert folder.load() == before
    assert refused_now(folder) == Refusals()


def test_steps_out_of_order_are_refused_before_anything_is_done(folder: StateFolder) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch()
    before = applied(folder, backend, desired)
    throttle, asleep, woken = steps_of(desired)
    with pytest.raises(StateError, match="117952 MiB"):
        run(folder, backend, throttle, woken)
    with pytest.raises(StateError, match="nobody would serve batch, which is not refused: do the steps before first"):
        run(folder, backend, asleep)
    assert (backend.done, folder.load(), refused_now(folder)) == ([], before, Refusals())
    # one by one in order they can be done, and taken back from the last
    for step in (throttle, asleep, woken):
        run(folder, backend, step)
    assert backend.done == ["drain batch-0", "sleep batch-0", "wake chat-1"]
    with pytest.raises(StateError, match="cannot be done now, and nothing was done"):
        undo(folder, backend, asleep)
    for step in (woken, asleep, throttle):
        undo(folder, backend, step)
    assert folder.load() == before


def test_a_sleeper_that_does_not_run_cannot_wake_and_others_are_refused_all_the_same(folder: StateFolder) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch()
    # what a schedule keeps of a phase as long as nobody has started its sleepers
    reduced = without_absent(desired, State())
    plan, kept = change(State(), desired), change(State(), reduced)
    asyncio.run(apply_to(kept, folder, backend))
    throttle, asleep, woken = steps_of(desired)
    with pytest.raises(StateError, match="chat-1: the plan that is kept has no such replica"):
        run(folder, backend, throttle, asleep, woken, plan=plan)
    assert refused_now(folder) == Refusals()
    assert run(folder, backend, throttle, plan=plan).workloads == ("batch",)
    with pytest.raises(StateError, match=r"batch-0, chat-0: .* or asleep already"):
        run(folder, backend, move("wake", "batch-0"), move("wake", "chat-0"))


def test_another_plan_forgets_who_moved_but_not_who_is_refused(folder: StateFolder) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch()
    applied(folder, backend, desired)
    run(folder, backend, *steps_of(desired))
    other = desired.model_copy(update={"cost_usd_per_h": 1.0})
    # as a schedule's next phase is kept
    report = passed(folder, backend, change(folder.load(), other))
    assert report.failures == ()
    assert (refused_now(folder).workloads, refused_now(folder).moves.names) == (("batch",), frozenset())
    assert routed(backend) == BEFORE
    run(folder, backend, *steps_of(desired))
    asyncio.run(apply_to(change(folder.load(), desired), folder, backend))
    assert (refused_now(folder).workloads, refused_now(folder).moves.names) == (("batch",), frozenset())
    assert folder.load() == state_of(desired, folder.load().serial)
    destroy(folder.root, open_backend=None)
    assert not folder.refused_path.exists()


def test_files_of_refusals_alone_are_as_they_were(folder: StateFolder) -> None:
    backend, desired = MemoryBackend(), chat_beside_batch()
    applied(folder, backend, desired)
    run(folder, backend, refusing("batch"))
    assert refused_now(folder).model_dump().keys() == {"workloads", "names", "closed"}
