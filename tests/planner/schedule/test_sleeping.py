from __future__ import annotations

from typing import Any

import pytest

from planner.check import check
from planner.plan import Asleep, Desired, Plan, State, as_applied, state_of
from planner.schedule.sleeping import with_sleepers, without_absent
from planner.schedule.switching import switch
from planner.schedule.waking import sleepers_of
from planner.sleep_costs import asleep_mib
from planner.transitions.change import change
from profiles.catalogue import builtin
from tests.fleets import fleet, workload
from tests.planner.schedule.test_horizon import windowed
from ullage.checking import architecture_of
from ullage.planning.scheduling import Scheduled, ScheduleOptions, plan_schedule

MODELS = {
    "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048, "sleep": True},
    "middle": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 4096, "sleep": True},
    "large": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096, "sleep": True},
}
POOL: dict[str, Any] = {"gpu": "L40S", "nodes": 1, "gpus_per_node": 4, "price": "1.5 USD/h"}
WORKLOADS = {
    "always": workload("small"),
    "day": windowed("middle", ("08:00-20:00", "4/s")),
    "night": windowed("large", ("20:00-08:00", "1.5/s")),
}


def turns(pool: dict[str, Any] = POOL, models: dict[str, Any] = MODELS, workloads: dict[str, Any] = WORKLOADS) -> Scheduled:
    """Two models that do not fit one GPU together, one by day and one by night."""
    spec = fleet(pools={"l40s": pool}, models=models, workloads=workloads)
    return plan_schedule(spec, State(), ScheduleOptions(verify=False))


def _plans(made: Scheduled) -> list[Plan]:
    return [made.plans[phase.plan] for phase in made.schedule.phases]


def _awake(desired: Desired) -> set[str]:
    return {item.served_name for item in desired.replicas} - {_name(desired, item.name) for item in desired.asleep}


def _name(desired: Desired, replica: str) -> str:
    return next(item.served_name for item in desired.replicas if item.name == replica)


def test_models_that_take_turns_share_a_gpu_that_is_too_small_for_both() -> None:
    made = turns()
    night, day = _plans(made)
    assert made.single.desired.gpus_used == 3
    assert [plan.desired.gpus_used for plan in (night, day)] == [2, 2]
    assert (_awake(night.desired), _awake(day.desired)) == ({"small", "large"}, {"small", "middle"})
    assert [[(item.name, item.level) for item in plan.desired.asleep] for plan in (night, day)] == [[("middle-0", 1)], [("large-0", 1)]]
    assert made.schedule.saved_fraction == pytest.approx(1 / 3)
    for one, other in ((night, day), (day, night)):
        kinds = [action.kind for action in change(as_applied(one), other.desired).actions]
        assert kinds == ["set_routes", "drain", "sleep", "wake", "set_routes"]


def test_every_model_stays_known_to_the_router_in_every_phase() -> None:
    for plan in turns().plans.values():
        assert [route.served_name for route in plan.desired.routes] == ["large", "middle", "small"]


def test_the_same_input_gives_the_same_bytes_and_an_earlier_schedule_moves_nothing() -> None:
    one, two = turns(), turns()
    assert one.schedule == two.schedule
    assert one.plans == two.plans
    spec = fleet(pools={"l40s": POOL}, models=MODELS, workloads=WORKLOADS)
    again = plan_schedule(spec, State(), ScheduleOptions(verify=False), list(one.plans.values()))
    assert again.schedule == one.schedule


def test_a_host_without_room_for_weights_lets_them_sleep_at_level_2() -> None:
    made = turns({**POOL, "gpus_per_node": 2, "host_memory": "26GiB"})
    levels = {item.level for plan in made.plans.values() for item in plan.desired.asleep}
    assert levels == {2}


def test_weights_lie_in_the_numa_node_of_their_gpus() -> None:
    """The whole host would have room for them."""
    pool = {**POOL, "gpus_per_node": 2, "host_memory": "80GiB"}
    whole, parted = (
        {item.level for plan in turns({**pool, "numa_nodes": count}).plans.values() for item in plan.desired.asleep} for count in (1, 2)
    )
    assert whole == {1}
    assert 2 in parted


def test_while_sleepers_take_turns_the_host_holds_the_weights_of_both() -> None:
    """One falls asleep before the other has woken."""
    made = turns({**POOL, "gpus_per_node": 2, "host_memory": "56GiB"})
    assert {item.level for plan in made.plans.values() for item in plan.desired.asleep} == {1, 2}


def test_phases_that_cost_more_than_one_plan_give_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What phases cost is known for sure only when they are planned."""
    monkeypatch.setattr("ullage.planning.scheduling.phases", lambda time, *_: [(number,) for number in range(len(time.segments))])
    pool = {**POOL, "gpus_per_node": 1, "nodes": 8, "ownership": "rentable"}
    workloads = {**WORKLOADS, "day": windowed("middle", ("08:00-20:00", "40/s")), "night": windowed("large", ("20:00-08:00", "0.2/s"))}
    assert len(turns(pool, workloads=workloads).schedule.phases) > 1
    dear = turns({**pool, "start_price": "100 USD"}, workloads=workloads)
    [phase] = dear.schedule.phases
    assert dear.schedule.usd_per_h == dear.schedule.single_usd_per_h == dear.single.desired.cost_usd_per_h
    assert dear.plans[phase.plan].desired == dear.single.desired
    spec = fleet(pools={"l40s": {**pool, "start_price": "100 USD"}}, models=MODELS, workloads=workloads)
    again = plan_schedule(spec, State(), ScheduleOptions(verify=False), list(dear.plans.values()))
    assert again.schedule == dear.schedule


def test_models_that_may_not_sleep_stop() -> None:
    models = {name: {**model, "sleep": False} for name, model in MODELS.items()}
    made = turns(models=models)
    assert all(not plan.desired.asleep for plan in made.plans.values())
    assert made.schedule.phases[1].starts == 1
    assert made.schedule.phases[1].loads_mib > 0


def test_nodes_that_are_rented_by_the_hour_are_given_back() -> None:
    pool = {**POOL, "gpus_per_node": 1, "nodes": 8, "ownership": "rentable"}
    workloads = {**WORKLOADS, "day": windowed("middle", ("08:00-20:00", "40/s")), "night": windowed("large", ("20:00-08:00", "0.2/s"))}
    made = turns(pool, workloads=workloads)
    night, day = made.schedule.phases
    assert night.nodes["l40s"] < day.nodes["l40s"]
    assert made.schedule.usd_per_h < made.schedule.single_usd_per_h
    dear = turns({**pool, "start_price": "100 USD"}, workloads=workloads)
    assert len(dear.schedule.phases) == 1
    slow = turns({**pool, "start_time": "10min"}, workloads=workloads)
    assert slow.schedule.phases[1].lead_s >= 600.0
    assert slow.schedule.switches_usd == pytest.approx((day.nodes["l40s"] - night.nodes["l40s"]) * 1.5 / 6)


def test_a_request_may_wake_who_has_room_and_is_quick_enough() -> None:
    (sleeper,) = turns().schedule.phases[1].sleepers
    assert (sleeper.replica, sleeper.level, sleeper.on_request) == ("large-0", 1, False)
    assert sleeper.why_not.endswith("MiB are missing beside those that are awake")


@pytest.mark.parametrize(("goal", "why_not"), [("9s", ""), ("1s", "its TTFT goal leaves 0.")])
def test_where_there_is_room_the_goal_decides(goal: str, why_not: str) -> None:
    day = windowed("middle", ("08:00-20:00", "60/s"), slo={"ttft_p95": goal})
    spec = fleet(models=MODELS, workloads={"always": workload("large", "8/s"), "day": day})
    night = plan_schedule(spec, State(), ScheduleOptions(verify=False)).schedule.phases[0]
    # it has the GPU to itself that is free by night
    alone = next(item for item in night.sleepers if "missing" not in item.why_not)
    assert alone.on_request == (not why_not)
    assert alone.why_not.startswith(why_not)
    assert alone.on_request == (alone.wake_s <= alone.slack_s)


def test_a_model_of_two_priorities_has_the_same_engines_in_every_phase() -> None:
    chat = windowed("middle", ("08:00-20:00", "4/s"), **{"class": "interactive"})
    batch = workload("middle", "0.2/s", **{"class": "background"})
    made = turns(workloads={**WORKLOADS, "day": chat, "batch": batch})
    assert len(made.schedule.phases) > 1
    engines = [{item.name: item.args for item in plan.desired.replicas if item.served_name == "middle"} for plan in made.plans.values()]
    assert engines[0]
    shared = set(engines[0]) & set(engines[1])
    assert shared
    assert all(engines[0][name] == engines[1][name] for name in shared)
    assert {args.scheduling_policy for each in engines for args in each.values()} == {"priority"}


def test_a_sleeper_may_have_priorities_of_workloads_that_nobody_sends_then() -> None:
    chat = windowed("middle", ("08:00-20:00", "4/s"), **{"class": "interactive"})
    batch = windowed("middle", ("08:00-20:00", "0.2/s"), **{"class": "background"})
    made = turns(workloads={**WORKLOADS, "day": chat, "batch": batch})
    asleep = [(plan, item) for plan in made.plans.values() for item in plan.desired.asleep if item.name.startswith("middle")]
    assert asleep
    for plan, item in asleep:
        replica = next(other for other in plan.desired.replicas if other.name == item.name)
        assert {each.workload for each in replica.priorities} == {"batch", "day"}


def test_sleepers_of_one_machine_share_its_link() -> None:
    plan = next(iter(turns().plans.values())).desired
    both = plan.model_copy(update={"asleep": tuple(Asleep(name=item.name, level=1) for item in plan.replicas)})
    found = sleepers_of(both, ())
    assert [item.together_s for item in found] == pytest.approx([sum(item.wake_s for item in found)] * len(found))
    assert all(item.slack_s == 0.0 for item in found)


def test_nobody_is_put_to_sleep_where_there_is_no_room() -> None:
    day = next(plan for plan in turns().plans.values() if "middle" in _awake(plan.desired)).desired
    alone = next(plan for plan in turns().plans.values() if "large" in _awake(plan.desired)).desired
    gpus = tuple(gpu.model_copy(update={"taken_mib": gpu.free_mib, "free_mib": 0}) for gpu in without_absent(day, State()).gpus)
    full = without_absent(day, State()).model_copy(update={"gpus": gpus})
    assert with_sleepers(full, alone, {"large", "middle", "small"}) == full


def test_a_sleeper_that_does_not_run_is_not_started() -> None:
    made = turns()
    for plan in made.plans.values():
        reduced = without_absent(plan.desired, State())
        assert reduced.asleep == ()
        first = change(State(), reduced)
        assert check(first, builtin().gpu, architecture_of, State()) == ()
        assert without_absent(plan.desired, state_of(plan.desired, 1)) == plan.desired
        for gpu, was in zip(reduced.gpus, plan.desired.gpus, strict=True):
            slept = [item for item in plan.desired.replicas if item.name in set(was.replicas) - set(gpu.replicas)]
            assert gpu.free_mib - was.free_mib == sum(map(asleep_mib, slept))


def test_a_change_that_only_adds_begins_early_and_one_that_needs_room_is_late() -> None:
    made = turns()
    night, day = _plans(made)
    tight = switch(night.desired, change(as_applied(night), day.desired))
    assert tight.lead_s == 0.0
    assert tight.late_s == {"middle": tight.change_s}
    roomy = plan_schedule(
        fleet(models=MODELS, workloads={"always": workload("large", "8/s"), "day": windowed("middle", ("08:00-20:00", "60/s"))}),
        State(),
        ScheduleOptions(verify=False),
    )
    busy = next(phase for phase in roomy.schedule.phases if phase.wakes)
    assert busy.late_s == {}
    assert busy.lead_s == busy.change_s > 0.0
