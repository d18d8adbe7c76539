"""The checker finds every fault that is planted into a sound plan, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.check import check
from planner.plan import Plan, State
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from ullage.checking import CheckError, checked
from ullage.planning import plan_fleet


def sound() -> Plan:
    return plan_fleet(fleet(), State()).plan


def faults(plan: Plan) -> tuple[str, ...]:
    return check(plan, builtin().gpu, builtin().model)


def edited(change: Callable[[dict[str, Any]], None]) -> Plan:
    """The sound plan after somebody edited its file."""
    document = sound().model_dump(mode="json")
    change(document["desired"])
    return Plan.model_validate(document)


def test_a_sound_plan_has_no_faults() -> None:
    assert faults(sound()) == ()


def mig_plan() -> Plan:
    pools = {"mig": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "mig": "repartition"}}
    return plan_fleet(fleet(pools=pools, workloads={"small": workload("small", "0.5/s")}), State()).plan


def test_a_sound_mig_plan_has_no_faults() -> None:
    plan = mig_plan()
    assert plan.desired.replicas[0].mode == "mig"
    assert faults(plan) == ()


def shared_gpu(desired: dict[str, Any]) -> dict[str, Any]:
    found = [gpu for gpu in desired["gpus"] if len(gpu["replicas"]) > 1]
    return dict(found[0]) if found else {}


def _headroom(desired: dict[str, Any]) -> None:
    for gpu in desired["gpus"]:
        gpu["headroom_mib"] = 60_000


def _ledger(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["ledger"]["total_mib"] -= 1000


def _kv(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["args"]["kv_cache_memory_bytes"] = 1 << 20


def _weight(desired: dict[str, Any]) -> None:
    desired["routes"][0]["backends"][0]["weight"] = 999


def _lost_route(desired: dict[str, Any]) -> None:
    del desired["routes"][0]


def _port(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["args"]["port"] = desired["router"]["port"]


def _twice(desired: dict[str, Any]) -> None:
    desired["replicas"][1]["name"] = desired["replicas"][0]["name"]


def _no_such_gpu(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["gpus"] = [7]


def _block(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["args"]["tensor_parallel_size"] = 2


def _host(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["host"] = "192.0.2.1"


def _slo(desired: dict[str, Any]) -> None:
    desired["workloads"][0]["ttft_slo_s"] = 0.001


def _overload(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["planned_rps"] = desired["replicas"][0]["capacity_rps"] * 2


def _silent_shortfall(desired: dict[str, Any]) -> None:
    desired["workloads"][0]["unserved_rps"] = 0.5


def _count(desired: dict[str, Any]) -> None:
    desired["gpus_used"] += 1


def _exclusive(desired: dict[str, Any]) -> None:
    for gpu in desired["gpus"]:
        if len(gpu["replicas"]) > 1:
            gpu["mode"] = "exclusive"


def _active(desired: dict[str, Any]) -> None:
    for item in desired["replicas"]:
        item["max_active_residents"] = 1
        item["forecast"]["running_requests"] = 5.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_headroom, "headroom, the GPU has"),
        (_ledger, "the memory model"),
        (_kv, "cannot hold one request of"),
        (_weight, "weights sum to"),
        (_lost_route, "takes part in 0 routes"),
        (_port, "is given out 2 times"),
        (_twice, "is listed 2 times"),
        (_no_such_gpu, "does not exist"),
        (_block, "are not an aligned block of 2"),
        (_host, "is not that of node"),
        (_slo, "misses the goal of 0.0010 s"),
        (_overload, "requests/s, capacity"),
        (_silent_shortfall, "without a reason"),
        (_count, "GPUs hold replicas"),
        (_exclusive, "residents on a GPU that is exclusive"),
        (_active, "they are sized for 1 at a time"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_every_planted_fault_is_found(change: Callable[[dict[str, Any]], None], words: str) -> None:
    assert any(words in fault for fault in faults(edited(change)))


def test_an_illegal_mig_start_is_found() -> None:
    document = mig_plan().model_dump(mode="json")
    place = {"profile": "3g.40gb", "start": 1}
    document["desired"]["gpus"][0]["mig_layout"] = [place]
    document["desired"]["replicas"][0]["mig"] = place
    assert any("is not a legal MIG layout" in fault for fault in faults(Plan.model_validate(document)))


def test_checked_refuses_with_the_name_of_the_file() -> None:
    with pytest.raises(CheckError, match=r"^plan\.json: "):
        checked(edited(_count), "plan.json")
