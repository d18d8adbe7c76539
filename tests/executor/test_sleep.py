"""Sleep and wake are done, whatever interrupts them, and what sleeps is told as such."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.backends import sleep_mode
from executor.backends.probes import read_load
from executor.backends.protocol import GpuHolder, ObservedGpu, Say
from executor.errors import ExecutorError, ProcessError, StartError
from executor.state.folder import StateFolder
from executor.status import StatusReport, status_of
from planner.plan import Plan, Replica, SleepLevel, State, Wake, as_applied
from tests.executor.memory_backend import MemoryBackend
from tests.sleepers import first_plan, leading, second_plan, sleeper, third_plan

ONE, TWO = sleeper("llama-0"), sleeper("qwen-0", 8101)


class CrashError(RuntimeError):
    """The process is gone: nothing is noted after it."""


class Crashing(MemoryBackend):
    """Dies before or after the n-th thing that it is told to do, once."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.after = False

    async def _counted(self, work: Callable[[], Awaitable[None]]) -> None:
        dies = False
        if self.left is not None:
            self.left -= 1
            dies = self.left == 0
        if dies and not self.after:
            raise CrashError
        await work()
        if dies:
            raise CrashError

    async def start(self, replica: Replica, say: Say) -> None:
        await self._counted(lambda: MemoryBackend.start(self, replica, say))

    async def sleep(self, replica: Replica, level: SleepLevel) -> None:
        await self._counted(lambda: MemoryBackend.sleep(self, replica, level))

    async def wake(self, replica: Replica) -> None:
        await self._counted(lambda: MemoryBackend.wake(self, replica))


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def done(plan: Plan, folder: StateFolder, backend: MemoryBackend) -> State:
    return asyncio.run(apply_to(plan, folder, backend))


def seen(folder: StateFolder, backend: MemoryBackend) -> StatusReport:
    return asyncio.run(status_of(folder, backend))


def conditions(folder: StateFolder, backend: MemoryBackend) -> dict[str, str]:
    return {row.name: row.condition for row in seen(folder, backend).replicas}


def swapped(folder: StateFolder, backend: MemoryBackend) -> None:
    """The first sleeps, the second is awake."""
    done(first_plan(ONE), folder, backend)
    done(second_plan(ONE, TWO, folder.load()), folder, backend)
    backend.done.clear()


def test_two_take_turns_and_the_state_says_who_sleeps(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    assert conditions(folder, backend) == {"llama-0": "asleep", "qwen-0": "ready"}
    assert seen(folder, backend).drift == ()
    plan = third_plan(ONE, TWO, folder.load(), level=2)
    state = done(plan, folder, backend)
    assert state == as_applied(plan)
    assert backend.done == ["drain qwen-0", "sleep qwen-0", "wake llama-0"]
    assert conditions(folder, backend) == {"llama-0": "ready", "qwen-0": "asleep"}
    assert seen(folder, backend).drift == ()


def test_who_sleeps_against_the_state_is_told(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    asyncio.run(backend.wake(ONE))
    asyncio.run(backend.sleep(TWO, 1))
    assert seen(folder, backend).drift == (
        "replica llama-0: is awake, and the state has it asleep: it may hold memory that others need",
        "replica qwen-0: sleeps, and the state has it awake; requests to it wait",
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("way", [second_plan, third_plan], ids=["sleep and start", "sleep and wake"])
def test_a_crash_anywhere_is_made_good_by_the_same_plan(
    folder: StateFolder, way: Callable[[Replica, Replica, State], Plan], number: int, after: bool
) -> None:
    backend = Crashing()
    if way is third_plan:
        swapped(folder, backend)
    else:
        done(first_plan(ONE), folder, backend)
    plan = way(ONE, TWO, folder.load())
    backend.left, backend.after = number, after
    with pytest.raises(CrashError):
        done(plan, folder, backend)
    assert done(plan, folder, backend) == as_applied(plan)
    assert seen(folder, backend).drift == ()
    assert {name for name, condition in conditions(folder, backend).items() if condition == "asleep"} == {
        item.name for item in plan.desired.asleep
    }


def test_a_sleeper_that_died_is_started_where_it_was_to_wake(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    backend.engines["llama-0"].alive = False
    assert conditions(folder, backend)["llama-0"] == "missing"
    plan = third_plan(ONE, TWO, folder.load())
    assert done(plan, folder, backend) == as_applied(plan)
    assert backend.done == ["drain qwen-0", "sleep qwen-0", "start llama-0"]
    assert seen(folder, backend).drift == ()


def test_a_sleeper_that_died_and_is_to_sleep_on_starts_and_sleeps(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    backend.engines["llama-0"].alive = False
    plan = leading(folder.load(), [ONE, TWO], {"llama-0": 1}, [])
    assert done(plan, folder, backend).asleep == plan.desired.asleep
    assert backend.done == ["start llama-0", "sleep llama-0"]
    assert seen(folder, backend).drift == ()


def test_one_that_was_woken_and_died_before_the_end_is_started_again(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    plan = third_plan(ONE, TWO, folder.load())
    more = sleeper("zephyr-0", 8102, kv_mib=1024, gpu=1)
    again = leading(folder.load(), [ONE, TWO, more], {"qwen-0": 1}, [*plan.actions[:4], *first_plan(more).actions[:1]])
    backend.fails = lambda name: "config" if name == "zephyr-0" else None
    with pytest.raises(StartError):
        done(again, folder, backend)
    backend.engines["llama-0"].alive = False
    backend.fails = lambda _: None
    backend.done.clear()
    assert done(again, folder, backend) == as_applied(again)
    assert backend.done == ["start llama-0", "start zephyr-0"]


def test_who_is_not_in_the_state_cannot_wake(folder: StateFolder) -> None:
    backend = MemoryBackend()
    swapped(folder, backend)
    plan = leading(folder.load(), [ONE, TWO], {"llama-0": 1}, [Wake(replica="nobody")])
    with pytest.raises(ExecutorError, match=r"actions\.0: nobody is not in the state"):
        done(plan, folder, backend)


def test_other_hosts_than_loopback_are_refused_before_anything_is_asked() -> None:
    for part in ({"host": "192.0.2.1"}, {"args": ONE.args.model_copy(update={"host": "0.0.0.0"})}):
        far = ONE.model_copy(update=part)
        with pytest.raises(ProcessError, match=r"listens on .*, where anybody could put it to sleep"):
            asyncio.run(sleep_mode.put_to_sleep(far, 1, 1.0))
        with pytest.raises(ProcessError, match="sleep and wake are done on loopback only"):
            asyncio.run(sleep_mode.wake(far, 1.0))


def test_a_wake_is_refused_where_the_memory_is_taken() -> None:
    gpu = ObservedGpu("h100-0", 0, (GpuHolder(1, 1500, active=False), GpuHolder(2, 40_000, active=True)), 0.0, memory_mib=81_090)
    with pytest.raises(ProcessError, match="llama-0: needs 58976 MiB of GPU 0 of h100-0 to wake, and 41090 MiB are free"):
        sleep_mode.require_room(ONE, frozenset({1}), (gpu,))
    sleep_mode.require_room(ONE, frozenset({1, 2}), (gpu,))
    sleep_mode.require_room(ONE.model_copy(update={"gpus": (1,)}), frozenset({1}), (gpu,))


def test_memory_that_is_not_given_back_is_told() -> None:
    gpu = ObservedGpu("h100-0", 0, (GpuHolder(1, 50_000, active=False),), 0.0, memory_mib=81_090)
    with pytest.raises(ProcessError, match="still holds 50000 MiB of a GPU, at most 2048 MiB were expected"):
        asyncio.run(sleep_mode.memory_given_back(ONE, frozenset({1}), lambda: (gpu,), 0.0))
    asyncio.run(sleep_mode.memory_given_back(ONE, frozenset({2}), lambda: (gpu,), 0.0))


@pytest.mark.parametrize(("shown", "level"), [("awake", 0), ("weights_offloaded", 1), ("discard_all", 2), (None, None)])
def test_metrics_tell_how_deep_an_engine_sleeps(shown: str | None, level: int | None) -> None:
    lines = ['vllm:num_requests_running{engine="0"} 1.0']
    if shown is not None:
        states = ("awake", "weights_offloaded", "discard_all")
        lines += [f'vllm:engine_sleep_state{{engine="0",sleep_state="{item}"}} {float(item == shown)}' for item in states]
    load = read_load("\n".join(lines) + "\n")
    assert load is not None
    assert load.asleep == level
