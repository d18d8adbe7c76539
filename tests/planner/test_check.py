"""The checker finds every fault that is planted into a sound plan, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.check import check
from planner.plan import Plan, State
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from ullage.checking import CheckError, architecture_of, checked
from ullage.planning.plan import plan_fleet


def sound() -> Plan:
    return plan_fleet(fleet(), State()).plan


def faults(plan: Plan) -> tuple[str, ...]:
    return check(plan, builtin().gpu, architecture_of, State())


def edited(change: Callable[[dict[str, Any]], None]) -> Plan:
    """The sound plan after somebody edited its file."""
    document = sound().model_dump(mode="json")
    change(document["desired"])
    return Plan.model_validate(document)


def test_a_sound_plan_has_no_faults() -> None:
    assert faults(sound()) == ()


def test_rounding_to_micro_requests_is_no_fault() -> None:
    """Two of 31 equal replicas find room; each counts as a 31st of the demand, rounded up to a whole micro-request/s."""
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "2 USD/h", "sharing": ["time_shared"]}}
    models = {"slow": {"source": "Qwen/Qwen2.5-1.5B-Instruct", "max_num_seqs": 1, "max_model_len": 2048}}
    demand = {"rate": "0.5/s", "input_tokens": 1, "output_tokens": 90}
    served = {"slow": {"model": "slow", "class": "interactive", "demand": demand, "slo": {"tpot_p95": "12ms"}}}
    plan = plan_fleet(fleet(pools=pools, models=models, workloads=served), State()).plan
    assert 0 < plan.desired.workloads[0].unserved_rps < 0.5
    assert faults(plan) == ()


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


def _start_peak(desired: dict[str, Any]) -> None:
    used = next(gpu for gpu in desired["gpus"] if gpu["replicas"])
    for replica in desired["replicas"]:
        if replica["name"] == used["replicas"][0]:
            replica["ledger"]["start_peak_mib"] = replica["ledger"]["total_mib"] + 80_000


def _active(desired: dict[str, Any]) -> None:
    for item in desired["replicas"]:
        item["active_limit"] = 1.0
        item["forecast"]["active_fractions"] = [0.9]


def _memory(desired: dict[str, Any]) -> None:
    desired["gpus"][0]["memory_mib"] = 200_000


def _line(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["ledger"]["weights_mib"] -= 100


def _utilization(desired: dict[str, Any]) -> None:
    shared = next(gpu for gpu in desired["gpus"] if len(gpu["replicas"]) > 1)
    replica = next(item for item in desired["replicas"] if item["name"] == shared["replicas"][0])
    replica["args"]["gpu_memory_utilization"] = 0.9


def _other_model(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["args"]["model"] = "meta-llama/Llama-3.1-70B"


def _unknown_model(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["catalogue_model"] = "nobody/nothing"


def _other_name(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["args"]["served_model_name"] = "another"


def _mode(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["mode"] = "tensor_parallel"


def _mig(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["mig"] = {"profile": "3g.40gb", "start": 0}


def _node(desired: dict[str, Any]) -> None:
    desired["nodes"][0]["gpu_count"] = 1


def _route_twice(desired: dict[str, Any]) -> None:
    desired["routes"].append(desired["routes"][0])


def _lost_demand(desired: dict[str, Any]) -> None:
    desired["replicas"][0]["planned_rps"] /= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_memory, "a H100-SXM-80GB has 81090 MiB"),
        (_line, "the ledger says weights_mib is"),
        (_utilization, "MiB free at its start"),
        (_other_model, "its engine would load meta-llama/Llama-3.1-70B"),
        (_unknown_model, "unknown model 'nobody/nothing'"),
        (_other_name, "its engine would serve another"),
        (_mode, "mode tensor_parallel with tensor_parallel_size 1"),
        (_mig, "with a MIG instance for"),
        (_node, "no node has such a GPU"),
        (_route_twice, "is listed 2 times"),
        (_lost_demand, "are planned for"),
        (_headroom, "headroom, the GPU has"),
        (_ledger, "the memory model"),
        (_kv, "cannot hold one request of"),
        (_weight, "weights sum to"),
        (_lost_route, "takes part in 0 routes"),
        (_port, "is used 2 times"),
        (_twice, "is listed 2 times"),
        (_no_such_gpu, "does not exist"),
        (_block, "are not an aligned block of 2"),
        (_host, "is not that of node"),
        (_slo, "misses the goal of 0.0010 s"),
        (_overload, "requests/s, capacity"),
        (_silent_shortfall, "without a reason"),
        (_count, "GPUs hold replicas"),
        (_exclusive, "residents on a GPU that is exclusive"),
        (_start_peak, "headroom are needed of 81090 MiB"),
        (_active, "they are sized for 1 at a time"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_every_planted_fault_is_found(change: Callable[[dict[str, Any]], None], words: str) -> None:
    assert any(words in fault for fault in faults(edited(change)))


def without(kind: str, plan: Plan, place: int = 0) -> Plan:
    """Without one action of a kind, the first of them unless told otherwise."""
    actions = list(plan.actions)
    actions.remove([action for action in actions if action.kind == kind][place])
    return plan.model_copy(update={"actions": tuple(actions)})


def follow(plan: Plan, state: State) -> str:
    return "\n".join(check(plan, builtin().gpu, architecture_of, state))


def state_after(plan: Plan) -> State:
    return State(serial=1, **{name: getattr(plan.desired, name) for name in ("nodes", "gpus", "replicas", "routes", "router")})


def moving() -> tuple[Plan, State]:
    """A plan with every kind of action but repartition: a model moves to larger replicas."""
    before = plan_fleet(fleet(workloads={"middle": workload("middle", "1/s"), "small": workload("small")}), State()).plan
    state = state_after(before)
    after = plan_fleet(fleet(workloads={"middle": workload("middle", "40/s"), "large": workload("large")}), state).plan
    assert {action.kind for action in after.actions} == {"start", "set_routes", "drain", "stop"}
    assert follow(after, state) == ""
    return after, state


def test_a_forgotten_action_is_found() -> None:
    plan, state = moving()
    assert "the actions leave" in follow(without("start", plan), state)
    # an earlier one may make way for another start of the same name
    assert "the actions leave" in follow(without("stop", plan, -1), state)
    # the first one only names the model that is new
    assert "which still takes part in a route" in follow(without("set_routes", plan, 1), state)


def test_actions_made_against_another_state_are_found() -> None:
    plan, _ = moving()
    assert "which does not run" in follow(plan, State())


def test_starts_before_there_is_room_are_found() -> None:
    one = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["exclusive"]}}
    before = plan_fleet(fleet(pools=one, workloads={"large": workload("large")}), State()).plan
    state = state_after(before)
    after = plan_fleet(fleet(pools=one, workloads={"middle": workload("middle", "30/s")}), state).plan
    assert [action.kind for action in after.actions] == ["set_routes", "drain", "stop", "start", "set_routes"]
    eager = after.model_copy(update={"actions": (after.actions[3], *after.actions[:3], after.actions[4])})
    assert "MiB headroom would be needed, but it has" in follow(eager, state)
    assert "which is not free for" in follow(eager, state)


def test_a_start_elsewhere_is_found() -> None:
    plan = sound()
    first = plan.actions[0].model_copy(update={"gpus": (1,), "node": "nowhere"})
    assert "but the plan places it elsewhere" in follow(plan.model_copy(update={"actions": (first, *plan.actions[1:])}), State())


def test_a_forgotten_repartition_is_found() -> None:
    plan = without("repartition", mig_plan())
    assert "which is not there or not free at that time" in follow(plan, State())
    assert "in another MIG layout than the plan wants" in follow(plan, State())


def test_an_illegal_mig_start_is_found() -> None:
    document = mig_plan().model_dump(mode="json")
    place = {"profile": "3g.40gb", "start": 1}
    document["desired"]["gpus"][0]["mig_layout"] = [place]
    document["desired"]["replicas"][0]["mig"] = place
    assert any("is not a legal MIG layout" in fault for fault in faults(Plan.model_validate(document)))


def test_checked_refuses_with_the_name_of_the_file() -> None:
    with pytest.raises(CheckError, match=r"^plan\.json: "):
        checked(edited(_count), "plan.json")
