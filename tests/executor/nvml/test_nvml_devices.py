"""Real GPUs under the local backend: the nodes' GPUs exist, replicas get their MIG instance, and memory is waited for."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pynvml
import pytest

from executor.applying.apply import apply
from executor.applying.destroy import destroy
from executor.backends.engine_kinds import vllm_backend
from executor.backends.local import Deadlines, LocalBackend
from executor.backends.mps_daemon import NVIDIA_CONTROL
from executor.backends.protocol import GpuHolder, ObservedGpu
from executor.clients.usage import UsageWatch
from executor.errors import ExecutorError, ProcessError, StartError
from executor.nvml.nvml_devices import NO_NODE, NvmlDevices
from executor.processes import table as processes
from executor.reconcile.run import reconciler
from executor.state.goal import goal_of
from executor.status import status
from planner.plan import MigPlace, Plan, Prior, Repartition, State, state_hash
from planner.transitions.diff import diff
from tests import plans
from tests.executor.nvml.fake_driver import A100, H100, L4, FakeDriver
from tests.executor.test_emulated import SHIM, onto
from tests.executor.worlds import FAKE_ENGINE, World, engine, fake_launch, free_ports
from tests.plans import mig_plan, plan_of, tensor_parallel_plan, time_shared_plan

NODE = "h100-0"


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `vllm` that plays the fake engine."""
    program = tmp_path / "vllm"
    program.write_text(SHIM.format(python=sys.executable, engine=FAKE_ENGINE))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def environment_of(world: World, name: str) -> dict[str, str]:
    return _environment(world, f"replica-{name}")


def _environment(world: World, record_name: str) -> dict[str, str]:
    record = processes.ProcessTable(world.folder.processes, world.folder.logs).record(record_name)
    assert record is not None
    content = Path(f"/proc/{record.pid}/environ").read_text(encoding="utf-8")
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def test_replicas_in_mig_slices_see_their_instance(world: World, driver: FakeDriver, shim: None) -> None:
    driver.machine([H100, H100])
    plan = onto(world, mig_plan())
    apply(plan, world.folder.root, vllm_backend)
    places = {line.split()[3]: line.split()[1] for line in driver.lines("instance")}
    assert sorted(places) == ["0", "4"]
    for replica in plan.desired.replicas:
        assert replica.mig is not None
        assert environment_of(world, replica.name)["CUDA_VISIBLE_DEVICES"] == f"MIG-0-{places[str(replica.mig.start)]}"
    assert status(world.folder.root, vllm_backend).drift == ()
    # the same plan again is nothing to do, and the processes stay
    living = world.living()
    state = world.folder.load()
    prior = Prior(serial=state.serial, state_hash=state_hash(state))
    apply(Plan(desired=plan.desired, prior=prior, actions=diff(state, plan.desired)), world.folder.root, vllm_backend)
    assert world.living() == living
    backend = vllm_backend(world.folder, Path())
    seen = {name: replica.command_hash for name, replica in backend.observe().items()}
    assert seen == {replica.name: backend.wanted_hash(replica) for replica in plan.desired.replicas}
    assert destroy(world.folder.root, open_backend=vllm_backend).over_commits is None


def test_instances_that_a_restart_of_the_machine_took_are_made_again(world: World, driver: FakeDriver) -> None:
    driver.machine([H100])
    plan = mig_plan()
    world.folder.create()
    world.folder.save(State(serial=1, gpus=plan.desired.gpus))
    devices = NvmlDevices(world.folder)
    devices.create(plan.desired.nodes)
    [first, *_] = plan.desired.replicas
    assert devices.visible(first)["CUDA_VISIBLE_DEVICES"].startswith("MIG-0-")
    assert len(driver.lines("instance")) == 2
    # what somebody else made there is not taken away
    driver.machine([H100], "instance 0 5 0 0", "compute 0 5 0 104", mig=True)
    with pytest.raises(ExecutorError, match=r"GPU 0 of h100-0 has no MIG instance .* it has 7g.80gb at 0; `ullage destroy`"):
        devices.visible(first)
    driver.machine([H100], "error nvmlDeviceCreateGpuInstanceWithPlacement 0 4 0 -1")
    backend = vllm_backend(world.folder, Path())
    with pytest.raises(StartError, match="this user may not do it: run it as root") as caught:
        asyncio.run(backend.start(first, print))
    assert caught.value.cause == "device"


def test_whole_gpus_are_named_by_uuid_where_another_is_divided(world: World, driver: FakeDriver) -> None:
    devices = NvmlDevices(world.folder)
    replica = tensor_parallel_plan().desired.replicas[0].model_copy(update={"gpus": (1, 2), "engine_version": "0.21.0"})
    driver.machine([L4, L4, L4])
    assert devices.visible(replica) == {}
    driver.machine([H100, L4, L4], mig=True)
    assert devices.visible(replica) == {"CUDA_VISIBLE_DEVICES": "GPU-fake-1,GPU-fake-2"}
    # older ones end in an error by any UUID
    assert devices.visible(replica.model_copy(update={"engine_version": "0.20.0"})) == {}


def mps_plan(world: World, engine_version: str = "0.32.0") -> Plan:
    """Two engines that share the second GPU by MPS."""
    names, ports = ("llama", "qwen"), free_ports(2)
    args = [{"port": port, "active_thread_percentage": 50} for port in ports]
    made = (
        plans.replica(f"{name}-0", name, mode="mps", gpus=(1,), args=each, engine_version=engine_version)
        for name, each in zip(names, args, strict=True)
    )
    return onto(world, plan_of(tuple(made), gpu_count=2))


def test_engines_that_share_by_mps_and_their_daemon_know_their_gpu_by_its_uuid(
    world: World, driver: FakeDriver, shim: None, tmp_path: Path
) -> None:
    driver.machine([H100, H100])
    plan = mps_plan(world)
    with pytest.raises(ExecutorError, match="there is no `nvidia-cuda-mps-control` on PATH: install the MPS tools of the NVIDIA driver"):
        apply(plan, world.folder.root, vllm_backend)
    assert world.living() == {}
    program = tmp_path / NVIDIA_CONTROL[0]
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m executor.emulator.mps_control "$@"\n')
    program.chmod(0o755)
    apply(plan, world.folder.root, vllm_backend)
    daemon = "mps-h100-0-gpu1"
    [pid] = world.living()[daemon]
    names = ("replica-llama-0", "replica-qwen-0", daemon)
    assert [_environment(world, name)["CUDA_VISIBLE_DEVICES"] for name in names] == ["GPU-fake-1"] * 3
    assert [_environment(world, name).get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") for name in names] == ["50", "50", None]
    # what the daemon's server holds is nobody else's
    driver.add(f"process 1 -1 {pid} 30", "process 1 -1 4242 7")
    report = status(world.folder.root, vllm_backend)
    assert (report.drift, [gpu.foreign_mib for gpu in report.gpus]) == ((), [0, 7])
    destroy(world.folder.root, open_backend=vllm_backend)
    assert world.living() == {}


def test_engines_too_old_for_uuids_do_not_share_by_mps(world: World, driver: FakeDriver, shim: None) -> None:
    driver.machine([H100, H100])
    with pytest.raises(ExecutorError, match=r"replica llama-0: vLLM 0\.20\.0 cannot be given its GPU by UUID.*write 0\.21\.0 or newer"):
        apply(mps_plan(world, "0.20.0"), world.folder.root, vllm_backend)
    assert world.living() == {}


def test_the_nodes_gpus_exist(world: World, driver: FakeDriver) -> None:
    driver.machine([H100])
    devices = NvmlDevices(world.folder)
    [node] = time_shared_plan().desired.nodes
    devices.create((node.model_copy(update={"gpu_count": 1}),))
    with pytest.raises(ExecutorError, match="node h100-0 has 2 GPUs in the plan, this machine has 1; `ullage discover` prints"):
        devices.create((node.model_copy(update={"gpu_count": 2}),))
    # engines on the processor need none
    devices.create((node.model_copy(update={"gpu_count": 2, "gpu_type": "CPU-x86-8GiB"}),))


def test_holders_stand_on_their_gpu_under_the_node_of_the_plan(world: World, driver: FakeDriver) -> None:
    held = ("process 0 11 42 100", "process 0 12 42 7", "process 1 -1 43 5")
    driver.machine([A100, L4], "instance 0 11 9 4", "instance 0 12 9 0", *held, mig=True)
    devices = NvmlDevices(world.folder)
    assert [gpu.node for gpu in devices.gpus()] == [NO_NODE, NO_NODE]
    world.folder.create()
    world.folder.save(State(serial=1, gpus=plan_of((), gpu_count=1).desired.gpus))
    found = {(gpu.node, gpu.index): gpu.holders for gpu in devices.gpus()}
    assert found == {(NODE, 0): (GpuHolder(42, 107, None),), (NO_NODE, 1): (GpuHolder(43, 5, None),)}
    assert devices.over_commits() is None


def test_busy_time_that_nobody_counts_is_not_shown_as_idle(world: World, driver: FakeDriver) -> None:
    driver.machine([H100, H100])
    world.folder.create()
    plan = world.plan([engine("a-0", free_ports(1)[0])])
    world.folder.save(State(serial=1, gpus=plan.desired.gpus))
    with UsageWatch(plan, LocalBackend(world.folder, fake_launch, NvmlDevices(world.folder))) as watch:
        pass
    assert [use.busy_fraction for use in watch.result()] == [None]


def test_a_stop_waits_until_the_memory_is_free(world: World, driver: FakeDriver) -> None:
    driver.machine([H100])
    world.folder.create()
    limits = Deadlines(start_s=lambda _: 60.0, stop_grace_s=2.0, memory_s=0.0)
    backend = LocalBackend(world.folder, fake_launch, NvmlDevices(world.folder), limits)
    asyncio.run(backend.start(engine("a-0", free_ports(1)[0]), print))
    [pid] = backend.observe()["a-0"].pids
    driver.add(f"process 0 -1 {pid} 100")
    with pytest.raises(ProcessError, match=f"its processes are gone but device memory is still held for {pid}"):
        asyncio.run(backend.stop("a-0"))


def test_a_stop_ends_once_the_memory_is_free(world: World, driver: FakeDriver) -> None:
    driver.machine([H100])
    world.folder.create()
    limits = Deadlines(start_s=lambda _: 60.0, stop_grace_s=2.0, memory_s=600.0)
    readings: list[int] = []

    class Watched(NvmlDevices):
        def gpus(self) -> tuple[ObservedGpu, ...]:
            readings.append(1)
            if len(readings) == 3:
                driver.forget("process")
            return super().gpus()

    backend = LocalBackend(world.folder, fake_launch, Watched(world.folder), limits)
    asyncio.run(backend.start(engine("a-0", free_ports(1)[0]), print))
    [pid] = backend.observe()["a-0"].pids
    driver.add(f"process 0 -1 {pid} 100")
    asyncio.run(backend.stop("a-0"))
    assert len(readings) == 3
    assert backend.observe() == {}


def test_a_whole_gpu_that_is_divided_is_refused_before_anything_starts(world: World, driver: FakeDriver, shim: None) -> None:
    driver.machine([H100, H100], mig=True)
    with pytest.raises(
        ExecutorError, match=r"GPU 0 of node h100-0 is in MIG mode, and the plan uses it undivided: .* nvidia-smi -i 0 -mig 0"
    ):
        apply(onto(world, time_shared_plan()), world.folder.root, vllm_backend)
    assert world.living() == {}


def test_a_layout_moves_by_the_plans_own_action(world: World, driver: FakeDriver) -> None:
    driver.machine([H100])
    devices = NvmlDevices(world.folder)
    devices.create(mig_plan().desired.nodes)
    devices.repartition(Repartition(node=NODE, gpu=0, layout=(MigPlace(profile="3g.40gb", start=4),)))
    assert [line.split()[2:] for line in driver.lines("instance")] == [["9", "4"]]
    driver.add("process 0 1 4242 10")
    with pytest.raises(ExecutorError, match="process 4242 uses it"):
        asyncio.run(vllm_backend(world.folder, Path()).repartition(Repartition(node=NODE, gpu=0, layout=())))


def test_a_lost_gpu_is_missing_among_those_that_are_read_and_told(world: World, driver: FakeDriver, shim: None) -> None:
    driver.machine([H100, H100])
    plan = onto(world, plan_of((engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1)), gpu_count=2))
    apply(plan, world.folder.root, vllm_backend)
    driver.machine([H100, H100], f"error nvmlDeviceGetHandleByIndex_v2 1 {pynvml.NVML_ERROR_GPU_IS_LOST} 0 -1")
    assert [gpu.index for gpu in NvmlDevices(world.folder).gpus()] == [0]
    assert status(world.folder.root, vllm_backend).drift == (f"GPU 1 of {NODE} is gone",)
    made = reconciler(world.folder, vllm_backend(world.folder, Path()))
    report = asyncio.run(made.once(lambda: goal_of(world.folder)))
    assert (report.outcome, report.actions, report.drift) == ("steady", (), (f"GPU 1 of {NODE} is gone",))
    # any other trouble of the driver is told as it is
    driver.machine([H100], "error nvmlDeviceGetHandleByIndex_v2 0 4 0 -1")
    [line] = status(world.folder.root, vllm_backend).drift
    assert line.startswith("GPUs cannot be read: GPU 0: NVML cannot find it")
