"""The whole chain: emulated engines on emulated GPUs behind a real Envoy, planned from nothing to MIG slices and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from executor.applying.apply import apply
from executor.applying.destroy import destroy
from executor.backends import machine
from executor.backends.emulated_devices import EmulatedDevices
from executor.backends.engine_kinds import vllm_backend
from executor.clients.replay import ReplayRequest, replay
from executor.emulator import devices
from executor.emulator.node_gpus import node_gpu_type
from executor.errors import ExecutorError, StartError
from executor.processes import table as processes
from executor.state.folder import StateFolder
from executor.status import status
from planner.plan import Plan, Prior, Replica, gpu_facts, state_hash
from planner.routes import routes_for
from planner.transitions.diff import diff
from profiles.catalogue import UnknownNameError, builtin
from renderers import vllm
from tests.executor.worlds import FAKE_ENGINE, World, free_ports
from tests.plans import mig_plan, replica, time_shared_plan

NODE = "h100-0"


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")


def onto(world: World, blank: Plan, gpu_count: int | None = None) -> Plan:
    """The plan on free ports and from the world's state, its node with that many GPUs."""
    ports = free_ports(len(blank.desired.replicas))
    replicas = tuple(_on_port(item, port) for item, port in zip(blank.desired.replicas, ports, strict=True))
    desired = blank.desired.model_copy(update={"replicas": replicas, "routes": routes_for(replicas), "router": world.router})
    if gpu_count is not None:
        desired = desired.model_copy(update={"nodes": tuple(node.model_copy(update={"gpu_count": gpu_count}) for node in desired.nodes)})
    state = world.folder.load()
    prior = Prior(serial=state.serial, state_hash=state_hash(state))
    return Plan(desired=desired, prior=prior, actions=diff(state, desired))


def _on_port(item: Replica, port: int) -> Replica:
    return item.model_copy(update={"args": item.args.model_copy(update={"port": port})})


def held_mib(world: World) -> list[int]:
    return [gpu.used_mib for gpu in devices.read_node(world.folder.node(NODE)).gpus]


def requests(names: Iterable[str], count: int) -> list[ReplayRequest]:
    return [ReplayRequest(i * 0.02, name, name, 40 + i, 12) for i in range(count) for name in names]


def test_from_nothing_to_time_shared_to_mig_to_nothing(world: World) -> None:
    plan = onto(world, time_shared_plan())
    apply(plan, world.folder.root)
    report = status(world.folder.root)
    assert report.drift == ()
    assert all(row.condition == "ready" and row.memory_mib and row.load for row in report.replicas)
    assert sum(row.memory_mib or 0 for row in report.replicas) == sum(held_mib(world))

    records = replay("127.0.0.1", world.router.port, requests(["llama-8b", "mistral-7b", "qwen3-8b", "nobody"], 15), 1.0)
    by_name = {name: {record.error for record in records if record.workload == name} for name in ("llama-8b", "mistral-7b", "qwen3-8b")}
    assert by_name == {"llama-8b": {None}, "mistral-7b": {None}, "qwen3-8b": {None}}
    assert {record.error for record in records if record.workload == "nobody"} == {"http 404"}
    served = [record for record in records if record.error is None]
    assert all(record.ttft_s is not None and record.ttft_s > 0 and record.tpot_s is not None for record in served)

    smaller = onto(world, mig_plan())
    with pytest.raises(ExecutorError, match="has 2 GPUs already, not 1"):
        apply(smaller, world.folder.root)
    apply(onto(world, mig_plan(), gpu_count=2), world.folder.root)
    assert status(world.folder.root).drift == ()
    [first, *_] = devices.read_node(world.folder.node(NODE)).gpus
    slices = {(instance.profile, instance.start): bool(instance.residents) for instance in first.instances if instance.profile}
    assert slices == {("4g.40gb", 0): True, ("3g.40gb", 4): True}

    gone = destroy(world.folder.root)
    assert (gone.leftovers, gone.over_commits) == ((), 0)
    assert world.living() == {}


def test_a_gpu_too_full_stops_apply_with_the_cause_and_leaves_its_neighbour_alone(world: World) -> None:
    blank = time_shared_plan()
    # three times 34 % and a little more does not fit one GPU
    crowd = tuple(replica(f"llama-8b-{i}", gpus=(0,)) for i in range(4))
    plan = onto(world, blank.model_copy(update={"desired": blank.desired.model_copy(update={"replicas": crowd})}))
    with pytest.raises(StartError) as caught:
        apply(plan, world.folder.root)
    assert caught.value.cause == "free_memory"
    assert "Free memory on device" in str(caught.value)
    up = [row.name for row in status(world.folder.root).replicas if row.condition == "ready"]
    assert 0 < len(up) < 4
    assert devices.read_node(world.folder.node(NODE)).over_commits == 0
    assert destroy(world.folder.root).leftovers == ()


def test_an_idle_node_may_come_back_with_other_gpus(world: World) -> None:
    world.folder.create()
    made = EmulatedDevices(world.folder)
    node = mig_plan().desired.nodes[0]
    for count, gpu_type in ((2, "H100-SXM-80GB"), (1, "H100-SXM-80GB"), (1, "A100-SXM-80GB")):
        made.create((node.model_copy(update={"gpu_count": count, "gpu_type": gpu_type}),))
        [reading] = made.readings().values()
        assert [gpu.gpu_type for gpu in reading.gpus] == [gpu_type] * count


def test_a_declared_gpu_type_comes_to_the_node_with_its_facts(world: World) -> None:
    world.folder.create()
    made = EmulatedDevices(world.folder)
    node = mig_plan().desired.nodes[0].model_copy(update={"gpu_count": 1, "gpu_type": "My-GPU"})
    folder = world.folder.node(node.name)
    for memory_mib in (50_000, 60_000):
        own = gpu_facts(replace(builtin().gpu("H100"), name="My-GPU", memory_usable_mib=memory_mib))
        made.create((node,), (own,))
        made.create((node,), (own,))
        [gpu] = made.readings()[folder.name].gpus
        assert (gpu.gpu_type, gpu.total_mib) == ("My-GPU", memory_mib)
        assert node_gpu_type(folder, "My-GPU") == own.gpu_type()
    devices.repartition(folder, 0, (("1g.10gb", 0),))
    made.create((node.model_copy(update={"gpu_type": "L4"}),))
    assert node_gpu_type(folder, "L4") == builtin().gpu("L4")
    with pytest.raises(UnknownNameError):
        node_gpu_type(folder, "My-GPU")


def test_vllm_refuses_what_it_cannot_set(world: World, tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="MIG layouts need the NVIDIA driver"):
        apply(onto(world, mig_plan()), world.folder.root, vllm_backend)
    table = processes.ProcessTable(StateFolder(world.folder.root).processes, tmp_path)
    assert table.records() == ()


SHIM = """#!/bin/sh
# plays `vllm serve MODEL --flag value ...` with the fake engine
shift 2
while [ $# -gt 0 ]; do
  case $1 in --host) host=$2 ;; --port) port=$2 ;; --served-model-name) name=$2 ;; esac
  shift
done
exec {python} {engine} "$host" "$port" "$name" ok
"""


def test_real_engines_are_started_by_the_rendered_command_line(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "vllm"
    shim.write_text(SHIM.format(python=sys.executable, engine=FAKE_ENGINE))
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # the shim needs no GPU; that their absence is told is tests/executor/test_machine.py
    monkeypatch.setattr(machine, "visible_gpus", lambda: 2)
    plan = onto(world, time_shared_plan())
    apply(plan, world.folder.root, vllm_backend)
    assert status(world.folder.root, vllm_backend).drift == ()
    record = processes.ProcessTable(world.folder.processes, tmp_path).record("replica-llama-8b-0")
    assert record is not None
    assert record.argv == vllm.command(next(item for item in plan.desired.replicas if item.name == "llama-8b-0"))
    assert destroy(world.folder.root).over_commits is None
