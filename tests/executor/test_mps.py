"""Engines that share a GPU by MPS: their daemon is there before the first of them, ends after the last, and is made anew when it died."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.applying.destroy import destroy
from executor.backends.engine_kinds import EMULATED_MPS_CONTROL, emulated_backend
from executor.backends.launch_command import emulated, real
from executor.backends.local import LocalBackend
from executor.backends.mps_daemon import NVIDIA_CONTROL
from executor.errors import ExecutorError, StartError
from executor.events import Event, ignore
from executor.processes import table as processes
from executor.processes.ending import end_processes
from executor.processes.mps_pipes import make_folder, pipe_folder, remove_folder
from executor.reconcile.run import reconciler
from executor.state.goal import goal_of
from executor.status import status
from planner.plan import Plan, Replica, State
from renderers import vllm
from tests.executor.worlds import World, engine, fake_launch, free_ports
from tests.plans import plan_of, replica

DAEMON = "mps-h100-0-gpu0"


def sharing(item: Replica, percentage: int = 50) -> Replica:
    return item.model_copy(update={"mode": "mps", "args": item.args.model_copy(update={"active_thread_percentage": percentage})})


def two() -> tuple[Replica, Replica]:
    ports = free_ports(2)
    return sharing(engine("llama-0", ports[0])), sharing(engine("qwen-0", ports[1]))


def backend_of(world: World, control: tuple[str, ...] = EMULATED_MPS_CONTROL) -> LocalBackend:
    world.folder.create()
    return LocalBackend(world.folder, fake_launch, None, world.limits, mps_control=control)


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    yield
    asyncio.run(end_processes(world.folder, "", ignore))
    assert not pipe_folder(world.folder.root, "h100-0", 0).exists()


def record_of(world: World, name: str) -> processes.ProcessRecord:
    record = processes.ProcessTable(world.folder.processes, world.folder.logs).record(name)
    assert record is not None
    return record


def environment_of(record: processes.ProcessRecord) -> dict[str, str]:
    content = Path(f"/proc/{record.pid}/environ").read_text(encoding="utf-8")
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def start(backend: LocalBackend, *replicas: Replica) -> list[str]:
    said: list[str] = []

    async def run() -> None:
        for item in replicas:
            await backend.start(item, said.append)

    asyncio.run(run())
    return said


def test_the_daemon_is_there_before_the_first_engine_and_goes_with_the_last(world: World) -> None:
    backend, (one, other) = backend_of(world), two()
    start(backend, one)
    daemon = record_of(world, DAEMON)
    folder = Path(daemon.mps_pipes)
    assert processes.alive(daemon)
    assert (folder / "control").exists()
    assert (stat.S_IMODE(folder.stat().st_mode), len(str(folder)) < 100) == (0o700, True)
    assert environment_of(record_of(world, "replica-llama-0"))["CUDA_MPS_PIPE_DIRECTORY"] == str(folder)
    start(backend, other)
    assert record_of(world, DAEMON) == daemon
    assert environment_of(record_of(world, "replica-qwen-0"))["CUDA_MPS_PIPE_DIRECTORY"] == str(folder)
    asyncio.run(backend.stop("llama-0"))
    assert processes.alive(daemon)
    asyncio.run(backend.stop("qwen-0"))
    assert (world.living(), folder.exists()) == ({}, False)
    asyncio.run(backend.stop("qwen-0"))


def test_a_daemon_gets_its_gpu_and_neither_credentials_nor_limits_of_clients(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "10")
    asyncio.run(_joined(world))
    found = environment_of(record_of(world, DAEMON))
    assert found["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert Path(found["CUDA_MPS_LOG_DIRECTORY"]).is_dir()
    assert {"VLLM_API_KEY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"}.isdisjoint(found)


async def _joined(world: World) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "GPU-1"}
    async with backend_of(world)._mps.joined(two()[0], environment):
        pass


def test_one_that_starts_while_the_last_one_stops_finds_a_daemon(world: World) -> None:
    backend, (one, other) = backend_of(world), two()
    start(backend, one)

    async def change() -> None:
        await asyncio.gather(backend.stop(one.name), backend.start(other, print))

    asyncio.run(change())
    seen = backend.observe()
    assert (set(seen), seen["qwen-0"].alive) == ({"qwen-0"}, True)
    assert set(world.living()) == {DAEMON, "replica-qwen-0"}


def test_another_process_of_ours_finds_daemon_and_engines(world: World) -> None:
    one, other = two()
    start(backend_of(world), one, other)
    before = world.living()
    again = backend_of(world)
    assert all(text.startswith("runs already") for text in start(again, one, other))
    assert world.living() == before
    asyncio.run(again.stop(one.name))
    asyncio.run(again.stop(other.name))
    assert world.living() == {}


def test_engines_of_a_dead_daemon_do_not_live_and_are_started_under_a_new_one(world: World) -> None:
    backend, (one, other) = backend_of(world), two()
    start(backend, one, other)
    before = {name: seen.pid for name, seen in backend.observe().items()}
    world.kill(DAEMON)
    # this fake does not notice; a real one may, with its next step
    assert {name: (seen.alive, seen.leads) for name, seen in backend.observe().items()} == dict.fromkeys(before, (False, True))
    start(backend_of(world), one)
    # the other one was a client of the dead daemon, not of the new one
    assert {name: seen.alive for name, seen in backend.observe().items()} == {"llama-0": True, "qwen-0": False}
    start(backend, other)
    after = backend.observe()
    assert all(seen.alive for seen in after.values())
    assert {name for name, seen in after.items() if seen.pid != before[name]} == set(before)


def test_a_daemon_whose_end_was_cut_off_is_no_obstacle(world: World) -> None:
    backend, (one, _) = backend_of(world), two()
    start(backend, one)
    world.kill(DAEMON)
    world.kill("replica-llama-0")
    assert pipe_folder(world.folder.root, "h100-0", 0).exists()
    start(backend_of(world), one)
    assert backend.observe()["llama-0"].alive
    # a folder that nobody knows any more is made anew
    asyncio.run(backend.stop(one.name))
    make_folder(pipe_folder(world.folder.root, "h100-0", 0))
    start(backend, one)


def test_the_loop_starts_the_clients_of_a_dead_daemon_again(world: World) -> None:
    backend, plan = backend_of(world), world.plan(two())
    asyncio.run(apply_to(plan, world.folder, backend))
    assert status(world.folder.root, lambda *_: backend).drift == ()
    before = {name: pids for name, pids in world.living().items() if name != "router"}
    world.kill(DAEMON)
    report = status(world.folder.root, lambda *_: backend)
    assert [row.condition for row in report.replicas] == ["running", "running"]
    assert report.drift == ("replica llama-0: runs but is not ready", "replica qwen-0: runs but is not ready")
    loop = reconciler(world.folder, backend)
    told = asyncio.run(loop.once(lambda: goal_of(world.folder)))
    assert (told.outcome, told.failures) == ("changed", ())
    assert {"start llama-0", "start qwen-0"} <= set(told.actions)
    assert asyncio.run(loop.once(lambda: goal_of(world.folder))).outcome == "steady"
    after = world.living()
    assert all(after[name] != pids for name, pids in before.items() if name.startswith(("mps-", "replica-")))
    assert status(world.folder.root, lambda *_: backend).drift == ()


def test_a_plan_is_accepted_while_its_engines_wait_to_be_started_under_a_new_daemon(world: World) -> None:
    backend, plan = backend_of(world), world.plan(two())
    start(backend, *plan.desired.replicas)
    world.kill(DAEMON)
    # their ports are their own
    backend.preflight(plan, State(replicas=plan.desired.replicas))


@pytest.mark.parametrize("whole", [True, False])
def test_everything_ends_daemons_last_though_no_state_names_them(whole: bool, world: World) -> None:
    start(backend_of(world), *two())
    folder = Path(record_of(world, DAEMON).mps_pipes)
    events: list[Event] = []
    report = destroy(world.folder.root, events.append, (lambda *_: backend_of(world)) if whole else None)
    assert report.leftovers == ()
    ended = [event.subject for event in events if event.what == "done"]
    assert (set(ended[:-1]), ended[-1]) == ({"replica-llama-0", "replica-qwen-0"}, DAEMON)
    assert (world.living(), folder.exists()) == ({}, False)


def test_a_machine_without_the_program_is_refused_before_anything_starts(world: World) -> None:
    plan = plan_of(two(), gpu_count=1)
    with pytest.raises(ExecutorError, match=r"replica llama-0: shares its GPU by MPS, and there is no `nvidia-cuda-none` on PATH: install"):
        backend_of(world, ("nvidia-cuda-none", "-f")).preflight(plan, State())
    # nobody else needs it
    backend_of(world, ("nvidia-cuda-none", "-f")).preflight(plan_of((engine("a-0", free_ports(1)[0]),), gpu_count=1), State())
    assert NVIDIA_CONTROL[0] == "nvidia-cuda-mps-control"


@pytest.mark.parametrize("kind", ["open", "file", "link"])
def test_a_folder_that_is_not_ours_alone_is_refused_and_left(kind: str, world: World, tmp_path: Path) -> None:
    folder = pipe_folder(world.folder.root, "h100-0", 0)
    backend, (one, other) = backend_of(world), two()
    try:
        if kind == "open":
            folder.mkdir()
            folder.chmod(0o755)
        elif kind == "file":
            folder.touch(0o600)
        else:
            folder.symlink_to(tmp_path)
        with pytest.raises(ExecutorError, match="is no folder, another user's, or open to others"):
            backend.preflight(plan_of((one, other), gpu_count=1), State())
        with pytest.raises(StartError, match="open to others") as caught:
            start(backend, one)
        assert caught.value.cause == "mps_daemon"
        remove_folder(str(folder))
        assert folder.exists()
    finally:
        folder.rmdir() if kind == "open" else folder.unlink()


def test_a_daemon_that_dies_at_once_is_told_with_the_end_of_its_log(world: World) -> None:
    control = (sys.executable, "-c", "raise SystemExit('no such GPU')")
    with pytest.raises(StartError, match=r"the MPS daemon of GPU 0 of h100-0 has ended(.|\n)*no such GPU") as caught:
        start(backend_of(world, control), two()[0])
    assert (caught.value.cause, caught.value.failure.permanent) == ("mps_daemon", False)
    assert (world.living(), processes.ProcessTable(world.folder.processes, world.folder.logs).records()) == ({}, ())


def test_an_engine_that_cannot_start_leaves_no_daemon(world: World) -> None:
    one = sharing(engine("llama-0", free_ports(1)[0], "oom"))
    with pytest.raises(StartError):
        start(backend_of(world), one)
    assert world.living() == {}


def test_another_percentage_is_another_engine_and_where_the_daemon_is_says_nothing(world: World, tmp_path: Path) -> None:
    one = replica("llama-8b-0", mode="mps", args={"active_thread_percentage": 50})
    assert vllm.environment(one)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" not in vllm.environment(replica("llama-8b-0"))
    for launch in (real(tmp_path), emulated(world.folder, tmp_path)):
        backend = LocalBackend(world.folder, launch, None)
        assert len({backend.wanted_hash(sharing(one, percentage)) for percentage in (40, 50)}) == 2
    backend, (small, _) = backend_of(world), two()
    start(backend, small)
    assert backend.observe()["llama-0"].command_hash == backend.wanted_hash(small)


def test_gpus_and_state_folders_have_folders_of_their_own_and_short_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {pipe_folder(root, node, gpu) for root in (tmp_path, tmp_path / "a") for node in ("n-0", "n-1") for gpu in (0, 1)}
    assert len(places) == 8
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "long" * 30)
    assert len(str(pipe_folder(tmp_path, "n" * 300, 0))) < 64


def emulated_plan() -> Plan:
    ports = free_ports(2)
    model = "Qwen/Qwen3-0.6B"
    names = ("llama", "qwen")
    made = (replica(f"{name}-0", name, model, args={"port": port}) for name, port in zip(names, ports, strict=True))
    return plan_of(tuple(sharing(item) for item in made), gpu_count=1)


def test_emulated_engines_run_under_the_emulated_daemon(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    world.folder.create()
    backend, plan = emulated_backend(world.folder, tmp_path), emulated_plan()
    backend.preflight(plan, State())

    async def run() -> None:
        for item in plan.desired.replicas:
            await backend.start(item, print)

    asyncio.run(run())
    assert set(world.living()) == {DAEMON, "replica-llama-0", "replica-qwen-0"}
    assert environment_of(record_of(world, "replica-qwen-0"))["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"
