"""A router that died, or whose files people edited: set right without touching an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executor.faults.keeping import Keeper
from tests.executor.worlds import World, engine, free_ports


def cut(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")


def remove(path: Path) -> None:
    path.unlink()


def other_weights(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "load_balancing_weight" in text or path.parent.name != "eds"
    # by renaming, as Envoy wants its files changed
    edited = path.with_suffix(".edited")
    edited.write_text(text.replace("load_balancing_weight: ", "load_balancing_weight: 1"), encoding="utf-8")
    edited.replace(path)


def kept(world: World) -> dict[str, tuple[int, ...]]:
    return {name: pids for name, pids in world.living().items() if name != "router"}


def start(world: World) -> Keeper:
    ports = free_ports(3)
    replicas = [engine("llama-0", ports[0]), engine("llama-1", ports[1], gpu=1), engine("qwen-0", ports[2], gpu=2)]
    asyncio.run(world.apply(world.plan(replicas)))
    return Keeper(world)


async def taken(world: World) -> bool:
    """Whether Envoy came to use what people wrote."""
    state, router = world.folder.load(), world.backend().router
    assert state.router is not None
    for _ in range(6000):
        if await router.difference(state.router, state.routes) is not None:
            return True
        await asyncio.sleep(0.01)
    return False


def test_a_router_that_was_killed_starts_again(world: World) -> None:
    keeper = start(world)
    before, [router] = kept(world), world.living()["router"]
    world.kill("router")
    assert keeper.once().failures == ()
    assert keeper.once().outcome == "steady"
    assert kept(world) == before
    assert world.living()["router"] != (router,)
    assert world.status().drift == ()


@pytest.mark.parametrize("edit", [other_weights, cut, remove])
def test_route_files_that_people_edited_are_set_right(world: World, edit: Callable[[Path], None]) -> None:
    keeper = start(world)
    before = kept(world)
    files = {path: path.read_text(encoding="utf-8") for path in sorted(world.folder.router.rglob("*.yaml"))}
    for path in files:
        edit(path)
    if edit is other_weights:
        assert asyncio.run(taken(world))
    # also what Envoy has not taken, and would with its next start
    keeper.until_steady()
    assert world.status().drift == ()
    assert {path: path.read_text(encoding="utf-8") for path in files} == files
    world.kill("router")
    keeper.until_steady()
    assert kept(world) == before
    assert {path: path.read_text(encoding="utf-8") for path in files} == files
    assert world.status().drift == ()
