"""Invariants of planning over small random fleets: many GPU types, sharing modes, MIG, tensor parallelism, constraints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.check import check
from planner.plan import Plan, State, plan_from_json, to_json
from planner.spec import Fleet, SpecError, load_fleet
from profiles.catalogue import builtin
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

GPUS = ("H100", "A100-SXM-80GB", "L40S", "H200-SXM-141GB", "T4", "A30", "L4")
MIG = (
    {"gpu": "H100", "mig": "repartition"},
    {"gpu": "A30", "mig": "repartition"},
    {"gpu": "A100-SXM-80GB", "mig": "fixed", "mig_layout": ["3g.40gb", "3g.40gb"]},
    {"gpu": "A30", "mig": "fixed", "mig_layout": ["2g.12gb", "1g.6gb", "1g.6gb"]},
)
MODELS = (
    {"source": "Qwen/Qwen3-0.6B"},
    {"source": "meta-llama/Llama-3.1-8B", "kv_cache_dtype": "fp8"},
    {"source": "Qwen/Qwen3-14B", "quantization": "fp8"},
    {"source": "google/gemma-2-9b", "enforce_eager": True},
    {"source": "meta-llama/Llama-3.1-70B", "tensor_parallel": [2, 4]},
    {"source": "Qwen/Qwen3-30B-A3B", "max_num_seqs": 16},
    {"source": "Qwen/Qwen2.5-1.5B-Instruct", "max_num_seqs": 1},
)
NAMES = ("a", "a-1", "b")


@st.composite
def pools(draw: st.DrawFn) -> dict[str, Any]:
    pool: dict[str, Any] = {"nodes": draw(st.integers(1, 2)), "gpus_per_node": draw(st.sampled_from([1, 2, 3, 4])), "price": "2 USD/h"}
    if draw(st.integers(0, 3)) == 0:
        pool |= draw(st.sampled_from(MIG))
    else:
        pool["gpu"] = draw(st.sampled_from(GPUS))
        pool["sharing"] = draw(
            st.sampled_from(
                [
                    ["exclusive", "time_shared"],
                    ["exclusive", "time_shared", "mps"],
                    ["exclusive", "mps"],
                    ["mps"],
                    ["time_shared"],
                    ["exclusive"],
                ]
            )
        )
    if draw(st.integers(0, 4)) == 0:
        pool |= {"ownership": "rentable", "max_nodes": pool["nodes"] + 1}
    if draw(st.integers(0, 9)) == 0:
        pool["host_cores"] = draw(st.sampled_from([1, 8]))
    return pool


def lengths(high: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.integers(1, high), st.builds(lambda mean: {"mean": mean, "p99": 2 * mean}, st.integers(1, high)))


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    rate = {
        "rate": draw(st.sampled_from(["1/d", "0.05/s", "0.7/s", "4/s", "25/s"])),
        "input_tokens": draw(lengths(600)),
        "output_tokens": 90,
    }
    later = {**rate, "rate": "0.5/s", "start": "900s", "end": "1800s"}
    windows = [{**rate, "start": "0s", "end": "600s"}, later]
    found: dict[str, Any] = {
        "model": draw(st.sampled_from(NAMES)),
        "class": draw(st.sampled_from(["interactive", "standard", "background"])),
        "demand": {"windows": windows} if draw(st.integers(0, 3)) == 0 else rate,
    }
    rare = {"isolate": True, "min_replicas": 2, "not_with": ["b"], "pin": ["p"], "slo": {"tpot_p95": "12ms"}}
    return found | {field: value for field, value in rare.items() if draw(st.integers(0, 5)) == 0}


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    """A fleet file as data; not every one is a legal fleet."""
    served = [draw(workloads()) for _ in range(draw(st.integers(1, 4)))]
    policy = draw(st.sampled_from([{}, {}, {"headroom": "0MiB"}, {"max_active_residents": 1}, {"max_active_residents": 4}]))
    return {
        "schema_version": 1,
        "pools": {name: draw(pools()) for name in ("p", "p-0")[: draw(st.integers(1, 2))]},
        "models": {name: {**draw(st.sampled_from(MODELS)), "max_model_len": 2048} for name in NAMES},
        "workloads": {f"w{index}": workload for index, workload in enumerate(served)},
        "policy": policy,
    }


def load(written: dict[str, Any]) -> Fleet:
    """The fleet; an illegal one is no example."""
    try:
        return load_fleet(Path("fleet.yaml"), yaml.safe_dump(written, sort_keys=False), builtin())
    except SpecError:
        assume(False)
        raise


def goals(plan: Plan) -> tuple[float, ...]:
    return tuple(round(tier.value, 6) for tier in plan.desired.certificate.proven_tiers)


def proven(*plans: Plan) -> bool:
    return all(plan.desired.certificate.status == "optimal" for plan in plans)


def applied(plan: Plan, state: State) -> State:
    """What apply leaves: the checker has followed the actions to the desired world."""
    desired = plan.desired
    return State(
        serial=state.serial + 1,
        nodes=desired.nodes,
        gpus=desired.gpus,
        replicas=desired.replicas,
        routes=desired.routes,
        router=desired.router,
    )


few = settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@few
@given(fleets())
def test_every_fleet_gets_a_sound_plan_that_survives_its_file_and_needs_nothing_once_applied(written: dict[str, Any]) -> None:
    """Invariants 1, 3, 5, 7 and 10."""
    fleet = load(written)
    plan = plan_fleet(fleet, State()).plan
    assert check(plan, builtin().gpu, architecture_of, State()) == ()
    assert plan_from_json(to_json(plan), "plan.json") == plan
    again = plan_fleet(fleet, applied(plan, State())).plan
    assert again.actions == ()
    assert again.desired == plan.desired


@few
@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_in_the_file_does_not_matter(written: dict[str, Any], random: Any) -> None:
    """Invariant 9."""
    shuffled = dict(written)
    for section in ("pools", "models", "workloads"):
        entries = list(written[section].items())
        random.shuffle(entries)
        shuffled[section] = dict(entries)
    plan, other = plan_fleet(load(written), State()).plan, plan_fleet(load(shuffled), State()).plan
    assert goals(plan) == goals(other)
    assert plan.desired.replicas == other.desired.replicas


@few
@given(fleets())
def test_one_more_node_never_hurts(written: dict[str, Any]) -> None:
    """Invariant 9; only proven plans promise it."""
    name, pool = next(iter(written["pools"].items()))
    larger = {**pool, **{field: pool[field] + 1 for field in ("nodes", "max_nodes") if field in pool}}
    plan = plan_fleet(load(written), State()).plan
    other = plan_fleet(load({**written, "pools": {**written["pools"], name: larger}}), State()).plan
    assert not proven(plan, other) or goals(other) <= goals(plan)


@few
@given(fleets(), st.lists(workloads(), min_size=1, max_size=4), st.integers(1, 2))
def test_every_change_of_a_fleet_has_sound_actions(written: dict[str, Any], served: list[dict[str, Any]], nodes: int) -> None:
    """From what runs to another demand on fewer or more nodes; plan_fleet has the checker follow every action."""
    changed = {**written, "workloads": {f"w{index}": workload for index, workload in enumerate(served)}}
    changed["pools"] = {
        name: {**pool, "nodes": nodes, **({"max_nodes": nodes} if "max_nodes" in pool else {})} for name, pool in written["pools"].items()
    }
    before, after = load(written), load(changed)
    state = applied(plan_fleet(before, State()).plan, State())
    state = applied(plan_fleet(after, state).plan, state)
    assert plan_fleet(after, state).plan.actions == ()


@few
@given(fleets())
def test_every_replica_has_a_place_and_all_demand_is_served_or_told(written: dict[str, Any]) -> None:
    """Invariant 2, counted from the fleet file and the plan alone."""
    desired = plan_fleet(load(written), State()).plan.desired
    names = [replica.name for replica in desired.replicas]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted({name for gpu in desired.gpus for name in gpu.replicas})
    assert sum(len(gpu.replicas) for gpu in desired.gpus) == sum(len(replica.gpus) for replica in desired.replicas)
    assert {row.name for row in desired.workloads} == set(written["workloads"])
    planned_rps: dict[str, float] = {}
    for replica in desired.replicas:
        planned_rps[replica.served_name] = planned_rps.get(replica.served_name, 0.0) + replica.planned_rps
    for row in desired.workloads:
        assert row.rate_rps - row.unserved_rps <= planned_rps.get(row.served_name, 0.0) * (1 + 1e-6) + 1e-5
        assert bool(row.unserved_reason) == (row.unserved_rps > 0)


@few
@given(fleets())
def test_slices_do_not_overlap_and_blocks_lie_in_one_node(written: dict[str, Any]) -> None:
    """Invariant 4, by the geometry alone: memory slices from the start slot on, compute slices of the whole GPU, aligned blocks."""
    desired = plan_fleet(load(written), State()).plan.desired
    sizes = {node.name: node.gpu_count for node in desired.nodes}
    for gpu in desired.gpus:
        kind = builtin().gpu(gpu.gpu_type)
        profiles = {profile.name: profile for profile in kind.mig_profiles}
        cut = [(profiles[place.profile], place.start) for place in gpu.mig_layout]
        slots = [slot for profile, start in cut for slot in range(start, start + profile.memory_slices)]
        assert len(set(slots)) == len(slots)
        assert all(slot < kind.mig_memory_slices for slot in slots)
        assert all(start in profile.placement_starts for profile, start in cut)
        assert sum(profile.compute_slices for profile, _ in cut) <= kind.mig_compute_slices
    seats = [(replica.node, index, replica.mig) for replica in desired.replicas for index in replica.gpus if replica.mig]
    assert len(set(seats)) == len(seats)
    for replica in desired.replicas:
        assert replica.gpus == tuple(range(replica.gpus[0], replica.gpus[0] + len(replica.gpus)))
        assert (replica.gpus[0] % len(replica.gpus), replica.gpus[-1] < sizes[replica.node]) == (0, True)
