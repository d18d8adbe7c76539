"""A schedule whose sleepers wake in bursts: the playbook of a phase is made with those that sleep in it."""

from __future__ import annotations

from functools import cache

from planner.check.bursts import burst_problems
from planner.plan import State, to_json
from planner.schedule.sleeping import without_absent
from tests.fleets import fleet, workload
from tests.planner.schedule.test_horizon import windowed
from tests.planner.schedule.test_sleeping import POOL
from ullage.planning.scheduling import Scheduled, ScheduleOptions, plan_schedule

MODELS = {
    "chat": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 4096, "sleep": True},
    "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048, "sleep": True},
}


def made(earlier: Scheduled | None = None) -> Scheduled:
    """A chat that needs two GPUs by day and one by night."""
    chat = windowed("chat", ("08:00-20:00", "10/s"), ("20:00-08:00", "3/s"), **{"class": "interactive"})
    spec = fleet(
        pools={"l40s": {**POOL, "gpus_per_node": 3}},
        models=MODELS,
        workloads={"chat": chat, "always": workload("small", "0.5/s", **{"class": "background"})},
        policy={"bursts": [3]},
    )
    return plan_schedule(spec, State(), ScheduleOptions(), list(earlier.plans.values()) if earlier else ())


first = cache(made)


def test_who_sleeps_by_night_wakes_in_a_burst_of_the_night() -> None:
    night, day = first().plans.values()
    assert [item.name for item in night.desired.asleep] == ["chat-1"]
    entries = {item.workload: item for item in night.desired.playbook}
    assert [(step.kind, step.replica) for step in entries["chat"].steps] == [("wake", "chat-1")]
    assert entries["chat"].attainment_fraction < 0.5
    assert entries["chat"].last_fraction >= night.desired.risk.attainment_fraction
    assert all(step.kind == "throttle" for item in day.desired.playbook for step in item.steps)


def test_planned_again_after_it_was_applied_the_plans_are_the_same() -> None:
    again = made(first())
    assert again.schedule == first().schedule
    assert [to_json(plan.desired) for plan in again.plans.values()] == [to_json(plan.desired) for plan in first().plans.values()]


def test_entries_that_wake_somebody_who_does_not_run_are_left_out() -> None:
    night = next(iter(first().plans.values())).desired
    reduced = without_absent(night, State())
    assert {item.workload for item in reduced.playbook} == {"always"}
    assert tuple(burst_problems(reduced)) == ()
