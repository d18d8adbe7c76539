"""A state folder knows which kind of engine it was applied with, and everything that looks at it asks that kind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.applying.destroy import destroy
from executor.backends.local import LocalBackend
from executor.backends.protocol import GpuHolder, ObservedGpu
from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from executor.status import status
from planner.plan import NodePlan, Plan, Repartition, State
from tests.executor.worlds import World, engine, fake_launch, free_ports
from tests.ullage.commands import ullage
from ullage.engine_of_state import engine_of


class _Gpus:
    """A GPU on which every recorded process holds 7 MiB."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, nodes: tuple[NodePlan, ...], gpu_types: object = ()) -> None:
        """They are there."""

    def gpus(self) -> tuple[ObservedGpu, ...]:
        pids = [pid for pids in self._world.living().values() for pid in pids]
        return (ObservedGpu("h100-0", 0, tuple(GpuHolder(pid, 7, pid % 2 == 0) for pid in pids), 1.0),)

    def over_commits(self) -> int | None:
        return 3

    def repartition(self, action: Repartition) -> None:
        raise NotImplementedError


def _backend(world: World) -> LocalBackend:
    return LocalBackend(world.folder, fake_launch, _Gpus(world), world.limits)


async def _apply(world: World, plan: Plan, kind: str) -> State:
    return await apply_to(plan, world.folder, world.backend(), engine=kind)


def test_an_apply_with_another_kind_is_refused_until_nothing_of_the_first_is_left(world: World) -> None:
    assert engine_of(world.folder.root) == "vllm"
    [port] = free_ports(1)
    plan = world.plan([engine("a-0", port)])
    asyncio.run(_apply(world, plan, "emulated"))
    assert engine_of(world.folder.root) == "emulated"
    running = world.living()
    with pytest.raises(ExecutorError, match=r"was applied with --engine emulated.*`ullage destroy` them before --engine vllm"):
        asyncio.run(_apply(world, world.plan([engine("b-0", port)]), "vllm"))
    assert world.living() == running
    assert engine_of(world.folder.root) == "emulated"
    destroy(world.folder.root)
    assert world.living() == {}
    asyncio.run(_apply(world, world.plan([engine("b-0", port)]), "vllm"))
    assert world.folder.engine() == "vllm"


def test_status_and_destroy_read_the_gpus_of_the_backend_that_is_given(world: World) -> None:
    [port] = free_ports(1)
    asyncio.run(_apply(world, world.plan([engine("a-0", port)]), "emulated"))
    [row] = status(world.folder.root, lambda _folder, _origin: _backend(world)).replicas
    pids = world.living()["replica-a-0"]
    assert row.memory_mib == 7 * len(pids)
    assert row.active == any(pid % 2 == 0 for pid in pids)
    assert destroy(world.folder.root, open_backend=lambda _folder, _origin: _backend(world)).over_commits == 3


@pytest.mark.parametrize(("device", "kind"), [(True, "emulated"), (False, "vllm")])
def test_a_folder_of_an_earlier_version_tells_by_its_devices(device: bool, kind: str, tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert folder.engine() is None
    folder.create()
    folder.save(State(serial=1, replicas=(engine("a-0", 8100),)))
    if device:
        folder.node("h100-0").mkdir()
    assert folder.engine() == kind


@pytest.mark.parametrize(("name", "content"), [("state.json", b"{"), ("engine", b"\xff"), ("engine", b"nobody\n")])
def test_what_nobody_can_read_keeps_nothing_running(name: str, content: bytes, world: World) -> None:
    [port] = free_ports(1)
    asyncio.run(_apply(world, world.plan([engine("a-0", port)]), "emulated"))
    assert world.living()
    (world.folder.root / name).write_bytes(content)
    result = ullage("destroy", "--state", world.folder.root, "-y")
    assert world.living() == {}
    assert (result.code, result.err.startswith("warning: " if name == "engine" else "error: ")) == (int(name != "engine"), True)
