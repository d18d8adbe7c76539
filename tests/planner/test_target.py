"""A part of a plan changes what it names and nothing else."""

from __future__ import annotations

import pytest

from planner.check import transition_problems
from planner.plan import Drain, Plan, Replica, Start, State, Stop, as_applied
from planner.routes import routes_for
from planner.target import targeted
from planner.transitions.change import change
from profiles.catalogue import builtin
from tests.plans import plan_of, replica


def plan_from(state: State, *replicas: Replica) -> Plan:
    desired = plan_of(tuple(sorted(replicas, key=lambda item: item.name)), gpu_count=4).desired
    return change(state, desired.model_copy(update={"routes": routes_for(desired.replicas)}))


def on(name: str, gpu: int, port: int) -> Replica:
    return replica(name, name.partition("-")[0], gpus=(gpu,), args={"port": port})


STATE = as_applied(plan_from(State(), on("a-0", 0, 3000), on("b-0", 1, 3001), on("c-0", 2, 3002)))
# a gets another port, b goes, d comes
WANTED = plan_from(STATE, on("a-0", 0, 3010), on("c-0", 2, 3002), on("d-0", 3, 3003))


COPY = "a-0-meanwhile"


def touched(plan: Plan) -> list[tuple[str, str]]:
    return [(action.kind, action.replica) for action in plan.actions if isinstance(action, (Start, Drain, Stop))]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("d",), [("start", "d-0")]),
        (("b",), [("drain", "b-0"), ("stop", "b-0")]),
        # a copy on the GPU that d is to have serves meanwhile
        (("a-0",), [("start", COPY), ("drain", "a-0"), ("stop", "a-0"), ("start", "a-0"), ("drain", COPY), ("stop", COPY)]),
        (("c",), []),
    ],
)
def test_only_what_is_named_changes_and_the_way_is_sound(targets: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    part = targeted(WANTED, STATE, targets)
    assert touched(part) == expected
    assert transition_problems(part, STATE, builtin().gpu) == ()
    assert part.prior == WANTED.prior
    left = {item.name for item in STATE.replicas} - {name for kind, name in expected if kind == "stop"} | {
        name for kind, name in expected if kind == "start" and name != COPY
    }
    assert {item.name for item in part.desired.replicas} == left


def test_all_targets_together_are_the_plan() -> None:
    part = targeted(WANTED, STATE, ("a", "b", "c", "d"))
    assert set(touched(part)) == set(touched(WANTED))
    assert as_applied(part).replicas == as_applied(WANTED).replicas
    assert part.desired.routes == WANTED.desired.routes


def test_a_part_that_needs_the_room_of_another_is_found_by_the_checker() -> None:
    crowded = plan_from(
        STATE, on("a-0", 0, 3000), on("c-0", 2, 3002), replica("e-0", "e", gpus=(1,), mode="exclusive", args={"port": 3009})
    )
    part = targeted(crowded, STATE, ("e",))
    assert any("e-0" in problem for problem in transition_problems(part, STATE, builtin().gpu))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="--target a-1: no such model or replica in plan and state; did you mean a-0"):
        targeted(WANTED, STATE, ("a-1",))
