"""Plans that somebody edited: a field left out, a number that is none, and a claim that the plan contradicts are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from planner.check import check
from planner.plan import DocumentError, State, plan_from_json, to_json
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

Path = tuple[int | str, ...]

# What a plan takes from the fleet file, from measurements and from solvers, and what only people read: nothing in the plan contradicts
# another number there (docs/plan.md lists them; `apply` says them before it asks).
TAKEN_AS_SAID = (
    ("desired", "explanation"),
    ("desired", "sharing_saving"),
    ("desired", "tolerance_cost_usd_per_h"),
    ("churn",),
)
TAKEN_KEYS = {"breaking", "busy_fraction", "running_requests", "kv_fraction", "max_model_len", "start_s", "priority"}


@cache
def text() -> str:
    """A plan with shared GPUs, several replicas and a MIG slice."""
    pools = {
        "h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h"},
        "mig": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "mig": "repartition"},
    }
    places = (("middle", "2/s", "h100"), ("small", "1/s", "h100"), ("large", "0.2/s", "mig"))
    pinned = {name: workload(name, rate, pin=[pool]) for name, rate, pool in places}
    return to_json(plan_fleet(fleet(pools=pools, workloads=pinned), State()).plan)


def leaves(value: Any, place: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field at the first place where it stands: of lists the first entry only."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*place, key), inner
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*place, 0))


def with_value(place: Path, value: Any) -> str:
    document = json.loads(text())
    part = document
    for step in place[:-1]:
        part = part[step]
    if value is ...:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return json.dumps(document)


def problems(edited: str) -> str:
    """What reading or checking says; empty when the plan passes."""
    try:
        plan = plan_from_json(edited, "plan.json")
    except DocumentError as error:
        return str(error)
    return "\n".join(check(plan, builtin().gpu, architecture_of, State()))


def name_of(place: Path) -> str:
    return ".".join(map(str, place))


def test_the_plan_as_written_passes() -> None:
    assert problems(text()) == ""
    modes = {replica["mode"] for replica in json.loads(text())["desired"]["replicas"]}
    assert {"mig", "time_shared"} <= modes


def test_invariant_18_no_field_can_be_left_out() -> None:
    places = [place for place, _ in leaves(json.loads(text()))]
    assert len(places) > 150
    # the names of input files and baselines are those of this fleet
    free = {place for place in places if place[-2:-1] in {("input_hashes",), ("baselines",), ("served_rps",)}}
    for place in places:
        if place not in free:
            said = problems(with_value(place, ...))
            assert str(place[-1]) in said, f"{name_of(place)}: {said or 'passes'}"
            # a document without version, and an action without kind, are told before their fields are looked at
            assert place[-1] in {"schema_version", "kind"} or f"plan.json: {name_of(place)}: " in said, said


def numbers() -> list[tuple[Path, float]]:
    found = [(place, value) for place, value in leaves(json.loads(text())) if isinstance(value, (int, float)) and value is not True]
    return [(place, value) for place, value in found if value is not False]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_is_infinite_or_none(value: str) -> None:
    assert len(numbers()) > 60
    for place, _ in numbers():
        edited = with_value(place, "@@").replace('"@@"', value)
        said = problems(edited)
        assert said.startswith("plan.json"), f"{name_of(place)}: {said or 'passes'}"


@pytest.mark.parametrize("factor", [-1.0, 1e12])
def test_absurd_numbers_are_refused(factor: float) -> None:
    """Of the numbers that a plan takes as said, those beyond any bound are refused too."""
    passed = []
    for place, value in numbers():
        said = problems(with_value(place, type(value)((value or 1) * factor)))
        if not said and not any(place[: len(prefix)] == prefix for prefix in TAKEN_AS_SAID) and not TAKEN_KEYS & {*map(str, place)}:
            passed.append(name_of(place))
    assert passed == []


def edited(change: str) -> str:
    """What reading or checking says to a plan after one edit of its parts."""
    document = json.loads(text())
    EDITS[change](document)
    return problems(json.dumps(document))


def first(document: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(action for action in document["actions"] if action["kind"] == kind)
    return found


def gpu_with(document: dict[str, Any], mode: str) -> dict[str, Any]:
    found: dict[str, Any] = next(gpu for gpu in document["desired"]["gpus"] if gpu["mode"] == mode)
    return found


def swap_routes(document: dict[str, Any]) -> None:
    for routes in (first(document, "set_routes")["routes"], document["desired"]["routes"]):
        routes[0]["backends"], routes[1]["backends"] = routes[1]["backends"], routes[0]["backends"]


def ghost(kind: str) -> dict[str, Any]:
    return {"kind": kind, "replica": "ghost", "reason": ""}


def seven_twice(document: dict[str, Any]) -> None:
    place = {"profile": "7g.80gb", "start": 0}
    first(document, "repartition")["layout"] = gpu_with(document, "mig")["mig_layout"] = [place, place]


def bomb(document: dict[str, Any]) -> None:
    document["desired"]["nodes"][0]["gpu_count"] = 1_000_000


def headroom(mib: int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for gpu in document["desired"]["gpus"]:
            gpu["headroom_mib"] = mib

    return change


def rule(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["desired"]["rules"][name] = value

    return change


def workload_field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["desired"]["workloads"][0][name] = value

    return change


def tier(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        cost = next(tier for tier in document["desired"]["certificate"]["tiers"] if tier["goal"] == "cost_usd_per_h")
        cost[name] = value

    return change


def at(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        part: Any = document
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = value

    return change


def insert(action: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["actions"].insert(0, action)


def emptied_routes(document: dict[str, Any]) -> None:
    first(document, "set_routes")["routes"] = []
    document["desired"]["routes"] = []


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "gpu_count says 1000000, 2 GPUs are listed": bomb,
    "desired.gpus.0.headroom_mib": headroom(-40_000),
    "keeps 0 MiB headroom, the policy says 1024 MiB": headroom(0),
    "gpus.0.taken_mib": at("desired", "gpus", 0, "taken_mib", value=-40_000),
    "free_mib says": at("desired", "gpus", 0, "free_mib", value=1),
    "args.port": at("desired", "replicas", 0, "args", "port", value=22),
    "gpu_memory_utilization": at("desired", "replicas", 0, "args", "gpu_memory_utilization", value=0),
    "start_s": at("desired", "replicas", 0, "start_s", value=-5),
    "tensor_parallel_size": at("desired", "replicas", 0, "args", "tensor_parallel_size", value=10**9),
    "router.port": at("desired", "router", "port", value=70_000),
    "the rules of the plan do not contain it": rule("models", []),
    "has no price": rule("pools", []),
    "desired.rules": at("desired", "rules", value=None),
    "start_peak_mib": at("desired", "replicas", 0, "ledger", "start_peak_mib", value=0),
    "at least 5, and none of its demand": at("desired", "rules", "models", 0, "min_replicas", value=5),
    "are sized for more than the 1 active residents": rule("max_active_residents", 1),
    "no workload of the plan uses this model": at("desired", "workloads", value=[]),
    "ttft_s says": workload_field("ttft_s", 0.001),
    "misses the goal": workload_field("tpot_slo_s", 1e-6),
    "count as unserved": workload_field("unserved_rps", 1e6),
    "says a cost of": tier("value", 0.5),
    "is not between 0 and its value": tier("bound", 1e6),
    "gap_fraction is": tier("gap_fraction", 0.5),
    "serves everything for 0.1 USD/h": at("desired", "certificate", "baselines", "first-fit-decreasing", "cost_usd_per_h", value=0.1),
    "which serves": swap_routes,
    "backends.0.weight": at("desired", "routes", 0, "backends", 0, "weight", value=0),
    "which is not a legal MIG layout": seven_twice,
    "which does not exist": insert({"kind": "repartition", "node": "nowhere", "gpu": 0, "layout": [], "reason": ""}),
    "drains ghost, which does not run": insert(ghost("drain")),
    "stops ghost, which does not run": insert(ghost("stop")),
    "takes part in 0 routes": emptied_routes,
    "host cores, but its part of node": at("desired", "nodes", 0, "host_cores", value=2),
    "is not the address of one machine": at("desired", "nodes", 0, "host", value="0.0.0.0"),
    "cannot be given the size of its KV cache": at("desired", "replicas", 0, "engine_version", value="0.6.4"),
    "but the actions keep it available": at(
        "outages",
        value=[
            {"served_name": "middle", "unavailable_s": 1.0, "short_s": 1.0, "fewest_replicas": 0, "least_replicas": 1, "reason": ""},
        ],
    ),
    "has characters that cannot be printed": at("desired", "certificate", "solver", value="exact\x1b[2J"),
}


@pytest.mark.parametrize("says", EDITS)
def test_a_claim_that_the_plan_contradicts_is_refused(says: str) -> None:
    assert says in edited(says)
