"""Two emulated engines take turns on one GPU that is too small for both awake: nothing over-commits, and no request is lost."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable

import pytest

from executor.applying.apply import apply
from executor.applying.destroy import destroy
from executor.backends.engine_kinds import emulated_backend
from executor.backends.probes import read_load
from executor.clients.replay import ReplayRequest, replay
from executor.emulator import devices
from executor.errors import ProcessError
from executor.status import status
from planner.check import transition_problems
from planner.plan import Plan, Replica, SleepLevel, State, Wake, as_applied
from planner.simulation.traffic_metrics import RequestRecord
from planner.sleep_costs import RESIDUE_MIB
from profiles.catalogue import builtin
from tests.executor.worlds import World, free_ports, until
from tests.sleepers import first_plan, leading, second_plan, sleeper, third_plan

INPUT_TOKENS = 40


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")


def answers(world: World, names: list[str], tokens: int = 8) -> list[RequestRecord]:
    asked = [ReplayRequest(index * 0.01, name, name, INPUT_TOKENS, tokens) for index in range(5) for name in names]
    return list(replay("127.0.0.1", world.router.port, asked, 1.0))


def prompt_tokens(item: Replica) -> int:
    """Of all requests that have come to it so far."""
    connection = http.client.HTTPConnection(item.host, item.args.port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        load = read_load(connection.getresponse().read().decode())
    finally:
        connection.close()
    assert load is not None
    return load.prompt_tokens


def applied_under_load(world: World, plan: Plan, busy: Replica) -> list[RequestRecord]:
    """Apply while the replica that is to sleep answers requests; the records of these."""
    records: list[RequestRecord] = []
    before = prompt_tokens(busy)
    clients = threading.Thread(target=lambda: records.extend(answers(world, [busy.served_name], tokens=400)))
    clients.start()
    # all have come, however late; those that still run are waited for
    assert until(lambda: prompt_tokens(busy) >= before + 5 * INPUT_TOKENS)
    assert transition_problems(plan, world.folder.load(), builtin().gpu) == ()
    assert apply(plan, world.folder.root) == as_applied(plan)
    clients.join()
    return records


def used_mib(world: World) -> int:
    [gpu] = devices.read_node(world.folder.node("h100-0")).gpus
    assert gpu.over_commits == 0
    return gpu.used_mib


def conditions(world: World) -> dict[str, str]:
    report = status(world.folder.root)
    assert report.drift == ()
    return {row.name: row.condition for row in report.replicas}


@pytest.mark.parametrize("level", [1, 2])
def test_two_engines_take_turns_on_a_gpu_too_small_for_both(world: World, level: SleepLevel) -> None:
    ports = free_ports(2)
    one, two = sleeper("llama-0", ports[0]), sleeper("qwen-0", ports[1])
    apply(first_plan(one, router=world.router), world.folder.root)
    alone_mib = used_mib(world)
    total_mib = builtin().gpu("H100").memory_usable_mib
    assert 2 * alone_mib > total_mib

    lost = [record.error for record in applied_under_load(world, second_plan(one, two, world.folder.load(), level, world.router), one)]
    assert lost == [None] * 5
    assert conditions(world) == {"llama-0": "asleep", "qwen-0": "ready"}
    assert alone_mib < used_mib(world) <= alone_mib + RESIDUE_MIB
    assert {record.error for record in answers(world, ["qwen"])} == {None}
    # nobody waits in a sleeper: there is no route to it
    assert {record.error for record in answers(world, ["llama"])} == {"http 503"}

    lost = [record.error for record in applied_under_load(world, third_plan(one, two, world.folder.load(), level, world.router), two)]
    assert lost == [None] * 5
    assert conditions(world) == {"llama-0": "ready", "qwen-0": "asleep"}
    assert {record.error for record in answers(world, ["llama"])} == {None}
    assert used_mib(world) <= alone_mib + RESIDUE_MIB

    refused_without_harm(world, level, lambda state: leading(state, [one, two], {}, [Wake(replica="qwen-0")], world.router))
    assert conditions(world) == {"llama-0": "ready", "qwen-0": "asleep"}
    gone = destroy(world.folder.root)
    assert (gone.leftovers, gone.over_commits) == ((), 0)


def refused_without_harm(world: World, level: SleepLevel, plan_from: Callable[[State], Plan]) -> None:
    """A wake for which there is no room: the checker says so, and whoever applies it all the same is stopped before the engine is asked."""
    state = world.folder.load()
    plan = plan_from(state)
    assert any("wakes qwen-0" in line and "81090 MiB" in line for line in transition_problems(plan, state, builtin().gpu))
    with pytest.raises(ProcessError, match=r"qwen-0: needs 58976 MiB of GPU 0 of h100-0 to wake, and \d+ MiB are free"):
        apply(plan, world.folder.root)
    assert emulated_backend(world.folder, world.folder.root).over_commits() == 0
    # what was begun is given up: back to where it was
    apply(leading(world.folder.load(), plan.desired.replicas, {"qwen-0": level}, [], world.router), world.folder.root)
