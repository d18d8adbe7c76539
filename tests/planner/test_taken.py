from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.check import check
from planner.plan import Plan, State
from planner.sizing.parts import parts
from planner.spec import SpecError
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text


def _pools(taken: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"h100": {"gpu": "H100", "nodes": 2, "gpus_per_node": 8, "price": "3 USD/h", "taken": taken, **changes}}


def _plan(taken: list[dict[str, Any]], rate: str = "1/s", state: State | None = None) -> Plan:
    workloads = {name: workload(name, rate) for name in ("small", "middle", "large")}
    return plan_fleet(fleet(pools=_pools(taken), workloads=workloads), state or State()).plan


def _state(plan: Plan) -> State:
    desired = plan.desired
    return State(serial=1, nodes=desired.nodes, gpus=desired.gpus, replicas=desired.replicas, routes=desired.routes, router=desired.router)


@given(st.dictionaries(st.tuples(st.integers(0, 1), st.integers(0, 7)), st.sampled_from([None, "20GiB"]), max_size=10))
def test_parts_hold_every_gpu_that_is_left_once_and_are_aligned(taken: dict[tuple[int, int], str | None]) -> None:
    written = [{"node": node, "gpus": [gpu], **({"memory": size} if size else {})} for (node, gpu), size in taken.items()]
    pool = fleet(pools=_pools(written)).pools[0]
    seen = []
    for part in parts(pool):
        for node, first in part.places:
            assert first % part.gpus_per_node == 0
            seen += [(node, first + gpu) for gpu in range(part.gpus_per_node)]
            held = {taken.get((node, first + gpu), "0GiB") for gpu in range(part.gpus_per_node)}
            assert held == {"20GiB" if part.taken_mib else "0GiB"}
    assert sorted(seen) == sorted((node, gpu) for node in range(2) for gpu in range(8) if taken.get((node, gpu), "") is not None)


def test_gpus_of_others_are_not_used_and_keep_their_names() -> None:
    everything = list(range(8))
    plan = _plan([{"node": "0", "gpus": everything}, {"node": "1", "gpus": [0, 1, 2, 4, 5, 6, 7]}])
    assert {(replica.node, replica.gpus) for replica in plan.desired.replicas} == {("h100-1", (3,))}
    assert [node.gpu_count for node in plan.desired.nodes] == [8, 8]
    taken = [gpu for gpu in plan.desired.gpus if gpu.taken_mib]
    assert len(taken) == 15
    assert all(gpu.free_mib == 0 and gpu.mode == "free" for gpu in taken)
    assert plan.desired.cost_usd_per_h == pytest.approx(3.0)
    assert "GPU 0-7  taken by others" in plan_text(plan)


def test_memory_of_others_is_left_to_them() -> None:
    taken = [{"node": "0", "gpus": list(range(8)), "memory": "40GiB"}, {"node": "1", "gpus": list(range(8))}]
    plan = _plan(taken)
    used = [gpu for gpu in plan.desired.gpus if gpu.replicas]
    assert used
    assert all(gpu.taken_mib == 40 * 1024 and gpu.free_mib >= gpu.headroom_mib for gpu in used)
    alone = _plan([])
    assert len(used) > len([gpu for gpu in alone.desired.gpus if gpu.replicas])


def test_what_runs_on_part_of_a_node_stays_there() -> None:
    taken = [{"node": "0", "gpus": list(range(6))}, {"node": "1", "gpus": [0]}]
    first = _plan(taken)
    again = _plan(taken, state=_state(first))
    assert again.actions == ()
    assert again.desired.replicas == first.desired.replicas


def test_the_checker_knows_what_is_taken() -> None:
    desired = _plan([]).desired
    crowded = tuple(gpu.model_copy(update={"taken_mib": 60 * 1024}) if gpu.replicas else gpu for gpu in desired.gpus)
    whole = tuple(gpu.model_copy(update={"taken_mib": gpu.memory_mib}) if gpu.replicas else gpu for gpu in desired.gpus)
    plan = _plan([])
    for gpus, said in ((crowded, "61440 MiB of them taken by others"), (whole, "is taken by others and holds")):
        wrong = plan.model_copy(update={"desired": desired.model_copy(update={"gpus": gpus})})
        found = "\n".join(check(wrong, builtin().gpu, architecture_of, State()))
        assert said in found
        assert "headroom would be needed, but it has" in found


@pytest.mark.parametrize(
    ("taken", "changes", "said"),
    [
        ([{"node": "2", "gpus": ["0"]}], {}, "there is no node 2; the pool has nodes 0 to 1"),
        ([{"node": "0", "gpus": ["8"]}], {}, "there is no GPU 8; a node has GPUs 0 to 7"),
        ([{"node": "0", "gpus": ["1", "1"]}], {}, "GPU 1 of node 0 is listed twice"),
        ([{"node": "0", "gpus": []}], {}, "gpus"),
        ([{"node": "0", "gpus": ["1"], "memory": "90GiB"}], {}, "leave it out, and the GPU is not used"),
        ([{"node": "0", "gpus": ["1"], "memory": "9GiB"}], {"mig": "repartition"}, "is for pools without MIG"),
        ([{"node": "0", "gpus": ["1"]}], {"ownership": "rentable"}, "is for owned pools"),
    ],
)
def test_what_cannot_be_taken_is_refused(taken: list[dict[str, Any]], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        fleet(pools=_pools(taken, **changes))
