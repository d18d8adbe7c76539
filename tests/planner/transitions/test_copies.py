"""A copy serves on a free GPU for the time of a change where what comes has no room beside what goes."""

from __future__ import annotations

from typing import Any

import pytest

from planner.check import transition_problems
from planner.ordering.batches import MOST_BATCHES
from planner.plan import Desired, MigPlace, Plan, Replica, Start, State, Stop, plan_from_json, state_of, to_json
from planner.transitions.change import change
from planner.transitions.repairs import Repairs
from profiles.catalogue import builtin
from tests.planner.transitions.test_order import placed, worlds_of

OLD, NEW = placed("a-0", 0, 45_000), placed("a-0", 0, 40_000, length=4096)


def steps(plan: Plan) -> list[tuple[str, str]]:
    return [(action.kind, getattr(action, "replica", "")) for action in plan.actions if action.kind != "set_routes"]


def faults(plan: Plan, state: State) -> tuple[str, ...]:
    return transition_problems(plan, state, builtin().gpu)


def test_a_copy_serves_while_the_engine_is_replaced() -> None:
    state, desired = worlds_of([OLD], [NEW], 2)
    plan = change(state, desired)
    [copy] = plan.temporary
    assert (copy.name, copy.gpus, copy.args.max_model_len) == ("a-0-meanwhile", (1,), 4096)
    assert copy.args.port not in {OLD.args.port, NEW.args.port, desired.router.port, desired.router.admin_port}
    assert plan.outages == ()
    assert steps(plan) == [
        ("start", "a-0-meanwhile"),
        ("drain", "a-0"),
        ("stop", "a-0"),
        ("start", "a-0"),
        ("drain", "a-0-meanwhile"),
        ("stop", "a-0-meanwhile"),
    ]
    assert faults(plan, state) == ()
    assert plan_from_json(to_json(plan), "plan.json") == plan
    [start] = [action for action in plan.actions if isinstance(action, Start) and action.replica == copy.name]
    assert "stops at the end" in start.reason


def test_without_a_free_gpu_or_port_there_is_no_copy() -> None:
    """And documents of such plans are what they were."""
    state, desired = worlds_of([OLD], [NEW], 1)
    plan = change(state, desired)
    assert (plan.temporary, len(plan.outages)) == ((), 1)
    assert "temporary" not in plan.model_dump(mode="json")
    state, desired = worlds_of([OLD], [NEW], 2)
    ports = desired.rules.ports.model_copy(update={"start": OLD.args.port, "end": OLD.args.port})
    narrow = desired.model_copy(update={"rules": desired.rules.model_copy(update={"ports": ports})})
    assert change(state, narrow).temporary == ()


@pytest.mark.parametrize("kind", ["taken", "cut", "rented"])
def test_gpus_of_others_slices_and_nodes_to_rent_take_no_copy(kind: str) -> None:
    state, desired = worlds_of([OLD], [NEW], 2)
    updates: dict[str, Any] = {}
    if kind == "taken":
        updates["gpus"] = (desired.gpus[0], desired.gpus[1].model_copy(update={"taken_mib": 1}))
    if kind == "cut":
        updates["gpus"] = (desired.gpus[0], desired.gpus[1].model_copy(update={"mig_layout": (MigPlace(profile="7g.80gb", start=0),)}))
    if kind == "rented":
        [node] = desired.nodes
        spare = node.model_copy(update={"name": "h100-1"})
        pools = tuple(pool.model_copy(update={"billing": "node"}) for pool in desired.rules.pools)
        there = tuple(gpu.model_copy(update={"node": "h100-1", "index": 0}) for gpu in desired.gpus[1:])
        updates = {
            "nodes": (node.model_copy(update={"gpu_count": 1}), spare.model_copy(update={"gpu_count": 1})),
            "gpus": (desired.gpus[0], *there),
            "rules": desired.rules.model_copy(update={"pools": pools}),
        }
    assert change(state, desired.model_copy(update=updates)).temporary == ()


def test_as_many_copies_as_there_must_be_replicas() -> None:
    before = [placed(f"a-{index}", index, 45_000, port=8100 + index) for index in (0, 1)]
    after = [placed(f"a-{index}", index, 40_000, port=8100 + index, length=4096) for index in (0, 1)]
    state, desired = worlds_of(before, after, 4)
    models = tuple(model.model_copy(update={"min_replicas": 2}) for model in desired.rules.models)
    desired = desired.model_copy(update={"rules": desired.rules.model_copy(update={"models": models})})
    assert change(state, desired, with_copies=False).outages != ()
    plan = change(state, desired)
    assert plan.outages == ()
    assert 1 <= len(plan.temporary) <= 2
    assert faults(plan, state) == ()


def test_what_an_interrupted_change_leaves_is_put_away_by_the_next() -> None:
    """The copy is in the state then, as a replica that nobody wants: it serves until the new one does."""
    state, desired = worlds_of([OLD], [NEW], 2)
    [copy] = change(state, desired).temporary
    half_way = state.model_copy(update={"replicas": (*state.replicas, copy)})
    plan = change(half_way, desired)
    assert plan.temporary == ()
    assert plan.outages == ()
    assert steps(plan)[-1] == ("stop", copy.name)
    assert faults(plan, half_way) == ()


def edited(plan: Plan, **changes: Any) -> Plan:
    [copy] = plan.temporary
    return plan.model_copy(update={"temporary": (copy.model_copy(update=changes),)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"capacity_rps": 99.0}, "is no copy of any replica of the plan"),
        ({"gpus": (0,)}, "a-0-meanwhile starts on GPUs [0] of node h100-0 while a-0 is there"),
        ({"gpus": (7,)}, "has no GPU 7"),
        ({"host": "10.0.0.9"}, "is no copy of any replica"),
        ({"name": "a-0"}, "another replica has this name"),
    ],
)
def test_the_checker_finds_what_is_wrong_with_a_copy(changes: dict[str, Any], said: str) -> None:
    state, desired = worlds_of([OLD], [NEW], 2)
    assert any(said in fault for fault in faults(edited(change(state, desired), **changes), state))


def test_the_checker_wants_copies_gone_at_the_end() -> None:
    state, desired = worlds_of([OLD], [NEW], 2)
    plan = change(state, desired)
    kept = tuple(action for action in plan.actions if not (isinstance(action, Stop) and action.replica == "a-0-meanwhile"))
    assert any("is started 1 times and stopped 0 times" in fault for fault in faults(plan.model_copy(update={"actions": kept}), state))


def test_nothing_is_copied_where_nobody_notices_the_change() -> None:
    state, desired = worlds_of([OLD], [placed("a-1", 1, 40_000, port=8101)], 3)
    assert change(state, desired).temporary == ()


def after_apply(plan: Plan) -> State:
    return state_of(plan.desired, 2)


def test_a_change_with_copies_arrives() -> None:
    state, desired = worlds_of([OLD], [NEW], 2)
    assert change(after_apply(change(state, desired)), desired).actions == ()


def unused(replicas: tuple[Replica, ...], desired: Desired) -> set[int]:
    """GPUs of the only node that nobody uses."""
    return {gpu.index for gpu in desired.gpus} - {gpu for replica in replicas for gpu in replica.gpus}


def test_a_block_of_gpus_is_copied_to_an_aligned_block() -> None:
    def widened(item: Replica) -> Replica:
        args = item.args.model_copy(update={"tensor_parallel_size": 2})
        return item.model_copy(update={"gpus": (2, 3), "mode": "tensor_parallel", "args": args})

    old, new = widened(OLD), widened(NEW)
    beside = placed("b-0", 1, 9_000, port=8300)
    state, desired = worlds_of([old, beside], [new, beside], 8)
    plan = change(state, desired)
    [copy] = plan.temporary
    assert copy.gpus == (4, 5)
    assert set(copy.gpus) <= unused(state.replicas, desired)
    assert faults(plan, state) == ()


def upgrade(models: int, per_gpu: int, free_gpus: int) -> tuple[State, Desired]:
    """One replica of each model, alone on its GPU or with others; all are replaced where they are."""
    mib = 40_000 if per_gpu == 1 else 70_000 // per_gpu
    before, after = (
        [placed(f"m{number}-0", number // per_gpu, mib, port=8100 + number, length=length) for number in range(models)]
        for length in (8192, 4096)
    )
    return worlds_of(before, after, -(-models // per_gpu) + free_gpus)


@pytest.mark.parametrize(("models", "per_gpu", "free_gpus"), [(4, 1, 1), (5, 1, 2), (6, 2, 1), (3, 3, 1)])
def test_one_free_gpu_serves_one_model_after_another(models: int, per_gpu: int, free_gpus: int) -> None:
    """Copies of all have no room at once."""
    state, desired = upgrade(models, per_gpu, free_gpus)
    assert len(change(state, desired, with_copies=False).outages) == models
    plan = change(state, desired)
    assert plan.outages == ()
    assert [copy.name for copy in plan.temporary] == [f"m{number}-0-meanwhile" for number in range(models)]
    assert {gpu for copy in plan.temporary for gpu in copy.gpus} == unused(state.replicas, desired)
    assert faults(plan, state) == ()
    assert plan_from_json(to_json(plan), "plan.json") == plan
    assert change(after_apply(plan), desired).actions == ()


def test_who_is_in_the_way_does_not_wait_for_a_copy() -> None:
    """b comes to where a was: a plan that left a where it is for longer would have no room for b."""
    before = [placed("a-0", 0, 75_000), placed("b-0", 1, 75_000, port=8101)]
    after = [placed("a-0", 1, 75_000), placed("b-0", 0, 75_000, port=8101)]
    state, desired = worlds_of(before, after, 3)
    plan = change(state, desired)
    assert [copy.name for copy in plan.temporary] == ["a-0-meanwhile"]
    assert [outage.served_name for outage in plan.outages] == ["b"]
    assert faults(plan, state) == ()


def test_no_more_batches_than_a_plan_can_hold() -> None:
    """The others are told as outages."""
    state, desired = upgrade(MOST_BATCHES + 3, 1, 1)
    plan = change(state, desired)
    assert (len(plan.temporary), len(plan.outages)) == (MOST_BATCHES - 1, 4)
    assert faults(plan, state) == ()


def test_the_checker_finds_two_copies_on_one_gpu() -> None:
    state, desired = upgrade(2, 1, 1)
    plan = change(state, desired)
    [first, second] = plan.temporary
    early = [action for action in plan.actions if isinstance(action, Start) and action.replica == second.name]
    late = [action for action in plan.actions if action not in early]
    mixed = plan.model_copy(update={"actions": (*late[:1], *early, *late[1:])})
    assert any(f"{second.name} starts on GPUs [2] of node h100-0 while {first.name} is there" in fault for fault in faults(mixed, state))


def test_restarts_and_replacements_together_arrive() -> None:
    """One that only starts anew is repaired in the batch that it belongs to."""
    state, desired = upgrade(3, 1, 1)
    same = tuple(state.replicas[2] if replica.name == "m2-0" else replica for replica in desired.replicas)
    desired = desired.model_copy(update={"replicas": same})
    plan = change(state, desired, repairs=Repairs(outdated={"m2-0": "other arguments than the plan says"}))
    assert [copy.name for copy in plan.temporary] == ["m0-0-meanwhile", "m1-0-meanwhile"]
    assert [outage.served_name for outage in plan.outages] == ["m2"]
    assert steps(plan).count(("start", "m2-0")) == 1
    assert faults(plan, state) == ()
