"""KV pools grow into memory that nobody in the plan uses, and disturb nobody."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.assembly.growth import shares
from planner.check import check
from planner.plan import Desired, Plan, Replica, Start, State, Stop, as_applied
from planner.sizing.blueprint import build
from planner.sizing.kv_steps import steps_below
from planner.sizing.kv_targets import burst_bytes, floor_bytes, sequences_bytes
from planner.spec import Fleet
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from tests.planner.transitions.test_diff import changed_fleets
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

ONE_GPU = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["time_shared"]}}


def served(*models: str, rate: str = "1/s", **changes: object) -> Fleet:
    return fleet(pools=ONE_GPU, workloads={name: workload(name, rate) for name in models}, **changes)


def planned(here: Fleet, before: Plan | None = None) -> Plan:
    return plan_fleet(here, State() if before is None else as_applied(before)).plan


def shared(desired: Desired) -> list[list[Replica]]:
    replicas = {item.name: item for item in desired.replicas}
    return [[replicas[name] for name in gpu.replicas] for gpu in desired.gpus if gpu.mode == "time_shared"]


def restarts_beside_its_neighbours(desired: Desired) -> None:
    """Fails where the start of a resident needs more than is there beside its running neighbours and the headroom."""
    gpus = [gpu for gpu in desired.gpus if gpu.mode == "time_shared"]
    for gpu, residents in zip(gpus, shared(desired), strict=True):
        room_mib = gpu.memory_mib - gpu.headroom_mib - gpu.taken_mib
        for one in residents:
            neighbours_mib = sum(other.ledger.total_mib for other in residents if other is not one)
            assert one.ledger.start_peak_mib + neighbours_mib <= room_mib


@settings(max_examples=40)
@given(changed_fleets(), changed_fleets())
def test_invariant_22_a_grown_pool_never_breaks_a_restart(before: Fleet, after: Fleet) -> None:
    first = planned(before)
    second = planned(after, first)
    for plan in (first, second):
        restarts_beside_its_neighbours(plan.desired)
        assert all(0 <= (item.kv_floor_mib or 0) <= item.ledger.kv_mib for item in plan.desired.replicas)


@settings(max_examples=40)
@given(changed_fleets(), changed_fleets())
def test_invariant_22_a_pool_between_floor_and_target_restarts_nothing(before: Fleet, after: Fleet) -> None:
    """A plan that was reached is left alone, though pools that would start now might be larger."""
    reached = planned(after, planned(before))
    again = planned(after, reached)
    assert again.actions == ()
    assert [item.args for item in again.desired.replicas] == [item.args for item in reached.desired.replicas]


def test_an_engine_that_carries_all_of_its_demand_still_does_when_planned_again() -> None:
    """Beside fewer neighbours than it might bear, and none of the looser classes in which it carries less."""
    two = {name: workload(name, rate) for name, rate in (("large", "20/s"), ("small", "0.2/s"))}
    reached = planned(fleet(workloads=two), planned(fleet(workloads={"small": two["small"]})))
    assert planned(fleet(workloads=two), reached).actions == ()


@given(
    total=st.integers(0, 100_000),
    parts=st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 10**12)), max_size=6),
)
def test_shares_are_within_what_is_wanted_and_use_what_is_there(total: int, parts: Sequence[tuple[int, int]]) -> None:
    wanted, weights = [want for want, _ in parts], [weight for _, weight in parts]
    given_ = shares(total, wanted, weights)
    assert all(0 <= got <= want for got, want in zip(given_, wanted, strict=True))
    assert sum(given_) <= total
    if total - sum(given_) >= len(parts) > 0:
        assert all(got == want or weight == 0 for got, want, weight in zip(given_, wanted, weights, strict=True))


def test_a_lone_engine_grows_in_steps_and_leaves_room_for_its_successor() -> None:
    plan = planned(served("middle"))
    [gpu], [item] = plan.desired.gpus, plan.desired.replicas
    assert item.kv_floor_mib is not None
    assert item.ledger.kv_mib > 8 * item.kv_floor_mib
    assert item.args.kv_cache_memory_bytes in steps_below(item.args.kv_cache_memory_bytes)
    at_floor_mib = item.ledger.start_peak_mib - item.kv_grown_mib
    assert gpu.free_mib - gpu.headroom_mib >= at_floor_mib


def test_room_stays_by_headroom() -> None:
    plans = [planned(served("large", policy={"headroom": f"{gib}GiB"})).desired for gib in (1, 40)]
    assert all(plan.gpus[0].free_mib >= plan.gpus[0].headroom_mib for plan in plans)
    assert plans[0].replicas[0].ledger.kv_mib > plans[1].replicas[0].ledger.kv_mib


def test_the_target_may_move_and_nothing_is_restarted() -> None:
    first = planned(served("small", "middle"))
    for policy in ({"burst_factor": 8}, {"headroom": "2GiB"}):
        moved = served("small", "middle", policy=policy)
        assert planned(moved, first).actions == ()


def test_a_small_newcomer_comes_beside_grown_pools() -> None:
    first = planned(served("middle"))
    plan = planned(served("middle", "small"), first)
    assert [action.replica for action in plan.actions if isinstance(action, Start | Stop)] == ["small-0"]
    assert not any(item.unserved_rps for item in plan.desired.workloads)


def test_a_grown_pool_gives_way_to_a_newcomer_that_has_no_other_place() -> None:
    demand = {"rate": "0.2/s", "input_tokens": 3000, "output_tokens": 800}
    long = {**workload("middle"), "class": "background", "demand": demand}
    alone = planned(fleet(pools=ONE_GPU, workloads={"middle": long}))
    plan = planned(fleet(pools=ONE_GPU, workloads={"middle": long, "large": workload("large", "0.2/s")}), alone)
    [before], after = alone.desired.replicas, {item.served_name: item for item in plan.desired.replicas}
    assert not any(item.unserved_rps for item in plan.desired.workloads)
    assert after["middle"].ledger.kv_mib < before.ledger.kv_mib
    assert before.ledger.total_mib + after["large"].ledger.start_peak_mib > plan.desired.gpus[0].memory_mib
    restarts_beside_its_neighbours(plan.desired)
    assert check(plan, builtin().gpu, architecture_of, as_applied(alone)) == ()


def test_floors_and_targets_are_in_order() -> None:
    blueprint = build(served("middle", "small", rate="4/s"), State())
    own = [candidate for candidate in blueprint.candidates if candidate.mode == "time_shared"]
    assert len(own) > 5
    for candidate in own:
        bursts = [burst_bytes(candidate, factor) for factor in (1.0, 2.0, 8.0, 1000.0)]
        assert all(less <= more for less, more in pairwise(bursts))
        assert floor_bytes(candidate, candidate.capacity_rps) == candidate.kv_bytes
        assert bursts[0] <= candidate.kv_bytes
        assert bursts[-1] <= sequences_bytes(candidate)


@pytest.mark.parametrize(("floor_mib", "told"), [(10**6, "but its KV pool has"), (1, "does not hold a request")])
def test_the_checker_knows_what_a_floor_is(floor_mib: int, told: str) -> None:
    plan = planned(served("middle"))
    [item] = plan.desired.replicas
    wrong = plan.desired.model_copy(update={"replicas": (item.model_copy(update={"kv_floor_mib": floor_mib}),)})
    [fault] = check(plan.model_copy(update={"desired": wrong}), builtin().gpu, architecture_of)
    assert told in fault
    assert f"{floor_mib}" in fault
