"""Who is refused in a burst: only who is less urgent, only where it helps, and whoever is late is named."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.check.bursts import burst_problems
from planner.plan import Burst, Desired, Plan, Replica, State, WorkloadForecast, plan_from_json, to_json
from planner.playbook.burst_judge import BurstJudge
from planner.playbook.burst_steps import burst, playbook
from planner.playbook.refusals import open_routes, refusals
from planner.playbook.yielding import who_yields
from planner.simulation.plan_input import planned_world
from planner.spec import load_fleet
from profiles.catalogue import builtin
from tests.planner.playbook.burst_fleet import burst_fleet_dict
from tests.plans import plan_of, replica
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

FACTOR = 2.0


@cache
def burst_plan() -> Plan:
    fleet = load_fleet(Path("fleet.yaml"), yaml.safe_dump(burst_fleet_dict(FACTOR)), builtin())
    return plan_fleet(fleet, State(), verify=True).plan


def entry(plan: Plan, workload: str) -> Burst:
    return next(item for item in plan.desired.playbook if item.workload == workload)


def row(desired: Desired, name: str) -> WorkloadForecast:
    return next(item for item in desired.workloads if item.name == name)


def judge_of(plan: Plan, bursts: int = 1) -> BurstJudge:
    return BurstJudge(plan.desired, planned_world(plan, builtin().gpu, architecture_of), bursts)


@pytest.mark.slow
def test_a_burst_of_the_most_urgent_is_absorbed_by_refusing_who_is_less_urgent() -> None:
    chat = entry(burst_plan(), "chat")
    assert chat.attainment_fraction < 0.5
    assert chat.steps
    assert {step.workload for step in chat.steps} <= {"batch-sum", "code"}
    assert chat.last_fraction >= burst_plan().desired.risk.attainment_fraction
    assert (chat.kept_load_factor, chat.last_late_rps) == (FACTOR, {})


def test_every_workload_has_an_entry_for_every_factor_and_the_plan_can_be_read_again() -> None:
    plan = burst_plan()
    assert [(item.workload, item.load_factor) for item in plan.desired.playbook] == [(item.name, FACTOR) for item in plan.desired.workloads]
    assert plan_from_json(to_json(plan), "plan.json") == plan


def test_a_fleet_that_does_not_ask_has_no_playbook_and_its_plan_does_not_mention_it() -> None:
    desired = burst_plan().desired.model_copy(update={"playbook": ()})
    assert "playbook" not in desired.model_dump()


def test_who_yields_is_less_urgent_and_first_on_the_own_engine() -> None:
    desired = burst_plan().desired
    assert [item.name for item in who_yields(desired, row(desired, "chat"))] == ["batch-sum", "code"]
    assert who_yields(desired, row(desired, "batch-sum")) == ()


def test_a_protected_model_does_not_yield() -> None:
    desired = burst_plan().desired
    budget = desired.rules.disruption_budget.model_copy(update={"protected": ("qwen-7b",)})
    kept = desired.model_copy(update={"rules": desired.rules.model_copy(update={"disruption_budget": budget})})
    assert [item.name for item in who_yields(kept, row(kept, "chat"))] == ["batch-sum"]


def test_what_a_larger_factor_bears_is_not_simulated_again_for_a_smaller_one() -> None:
    plan = burst_plan()
    world = planned_world(plan, builtin().gpu, architecture_of)
    of_night = [item for item in playbook(plan.desired, world, [1.5, FACTOR]) if item.workload == "night"]
    assert [item.load_factor for item in of_night] == [1.5, FACTOR]
    assert of_night[0].attainment_fraction == of_night[1].attainment_fraction
    assert [item.kept_load_factor for item in of_night] == [1.5, FACTOR]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": "nobody"}, "there is no such workload"),
        ({"kept_load_factor": 1.0}, "its kept factor is 1"),
        ({"attainment_fraction": 1.0}, "has steps, and keeps 100.00% of its goals without them"),
        ({"workload": "batch-sum"}, "which is not below"),
        ({"late_rps": {"tags": 99.0}}, "99 requests/s of tags are late, and it has 3"),
        ({"late_rps": {"chat": 0.1}}, "says that chat is late"),
    ],
)
def test_the_checker_refuses_an_entry_that_cannot_be(change: dict[str, object], said: str) -> None:
    desired = burst_plan().desired
    wrong = desired.model_copy(update={"playbook": (entry(burst_plan(), "chat").model_copy(update=change),)})
    assert tuple(burst_problems(desired)) == ()
    assert said in "\n".join(burst_problems(wrong))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": "tags"}, "its replicas there are none"),
        ({"workload": "chat"}, "which is not below"),
        ({"workload": "nobody"}, "which is no workload of the plan"),
        ({"refused_rps": 9.0}, "refuses 9 requests/s of"),
        ({"frees": ()}, "frees nothing"),
    ],
)
def test_the_checker_refuses_a_step_that_cannot_be(change: dict[str, object], said: str) -> None:
    desired, chat = burst_plan().desired, entry(burst_plan(), "chat")
    steps = (chat.steps[0].model_copy(update=change), *chat.steps[1:])
    wrong = desired.model_copy(update={"playbook": (chat.model_copy(update={"steps": steps}),)})
    assert said in "\n".join(burst_problems(wrong))


def test_the_checker_refuses_wrong_numbers_a_repeated_step_and_a_protected_model() -> None:
    desired, chat = burst_plan().desired, entry(burst_plan(), "chat")
    step = chat.steps[0]
    freed = step.frees[0].model_copy(update={"busy_fraction": 0.999})
    wrong = chat.model_copy(update={"steps": (step.model_copy(update={"frees": (freed,)}), step)})
    said = "\n".join(burst_problems(desired.model_copy(update={"playbook": (wrong, wrong)})))
    assert "a workload is refused in two steps" in said
    assert "stands twice" in said
    assert "frees 0.999 of its time" in said
    name = row(desired, step.workload).served_name
    budget = desired.rules.disruption_budget.model_copy(update={"protected": (name,)})
    protected = desired.model_copy(update={"rules": desired.rules.model_copy(update={"disruption_budget": budget})})
    assert "which policy.disruption_budget protects" in "\n".join(burst_problems(protected))


def test_a_model_without_anybody_else_is_closed_and_others_are_told_apart_by_the_header() -> None:
    desired = burst_plan().desired
    one = refusals(desired, ["code", "batch-sum"])
    assert (one.names, one.closed) == ({"llama-8b": ("batch-sum",)}, ("qwen-7b",))
    assert [route.served_name for route in open_routes(desired.routes, set(one.closed)) if not route.backends] == ["qwen-7b"]
    assert refusals(desired, ["chat", "batch-sum"]).closed == ("llama-8b",)
    with pytest.raises(ValueError, match="nobody: no workload of the plan"):
        refusals(desired, ["nobody"])


def random_plan(seed: int) -> Plan:
    """One or two GPUs, up to three models on each, one or two workloads for each model with any priorities and rates."""
    rng = Random(seed)
    models = [("llama", "meta-llama/Meta-Llama-3.1-8B"), ("qwen", "Qwen/Qwen3-8B"), ("mistral", "mistralai/Mistral-7B-v0.3")]
    replicas: list[Replica] = []
    for gpu in range(rng.randint(1, 2)):
        for name, model in rng.sample(models, rng.randint(1, 3)):
            rate_rps = rng.choice([0.5, 2.0, 6.0])
            replicas.append(replica(f"{name}-{gpu}", name, model, gpus=(gpu,), planned_rps=rate_rps, args={"port": 8100 + len(replicas)}))
    plan = plan_of(tuple(sorted(replicas, key=lambda item: item.name)), gpu_count=2)
    workloads = []
    for item in plan.desired.workloads:
        all_rps = sum(found.planned_rps for found in replicas if found.served_name == item.served_name)
        parts = rng.choice([(1.0,), (0.7, 0.3)])
        for number, part in enumerate(parts):
            changes = {"name": f"{item.served_name}-{number}", "priority": rng.choice([10, 50, 100]), "rate_rps": all_rps * part}
            goals = {"ttft_slo_s": rng.choice([0.5, 2.0, 30.0]), "tpot_slo_s": rng.choice([0.03, 0.05, 0.5])}
            workloads.append(item.model_copy(update={**changes, **goals, "unserved_rps": 0.0}))
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": tuple(workloads)})})


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.5, 2.0, 4.0]))
def test_every_playbook_passes_the_checker_and_names_whose_goals_are_given_up(seed: int, factor: float) -> None:
    plan = random_plan(seed)
    desired, judge = plan.desired, judge_of(plan, bursts=50)
    chosen = desired.workloads[seed % len(desired.workloads)]
    found = burst(judge, chosen, factor)
    assert tuple(burst_problems(desired.model_copy(update={"playbook": (found,)}))) == ()
    refused = {step.workload for step in found.steps}
    assert all(row(desired, name).priority < chosen.priority for name in refused)
    after = judge.outcome(chosen, factor, refused)
    given_up = refused | found.last_late_rps.keys() | {chosen.name}
    goal_fraction = desired.risk.attainment_fraction
    assert all(after.of(item.name) >= goal_fraction for item in desired.workloads if item.name not in given_up)
    assert after.of(chosen.name) == found.last_fraction
    # each step is worth it: without it the workload keeps less
    for step in found.steps:
        assert judge.outcome(chosen, factor, refused - {step.workload}).of(chosen.name) < min(goal_fraction, found.last_fraction)
