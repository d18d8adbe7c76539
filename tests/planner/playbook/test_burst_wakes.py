"""Sleepers that wake in a burst: who makes room for them, at whose cost, and what the checker refuses."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.check.bursts import burst_problems
from planner.plan import Burst, Desired, Plan, Prior, Replica, State, plan_from_json, state_hash, to_json
from planner.playbook.burst_judge import BurstJudge
from planner.playbook.burst_moves import BurstMoves, moved, moves_of
from planner.playbook.burst_steps import burst
from planner.simulation.plan_input import planned_world
from planner.sleep_costs import asleep_mib, sleep_s, wake_s
from profiles.catalogue import builtin
from tests.planner.playbook.sleepers_fleet import chat_beside_batch, resident, with_asleep
from tests.planner.playbook.test_burst_steps import row
from tests.plans import HEADROOM_MIB
from ullage.checking import architecture_of
from ullage.traffic.burst_answer import burst_answer
from ullage.views.burst_text import entry_lines

QWEN = "Qwen/Qwen3-8B"
MODELS = {"chat": "meta-llama/Meta-Llama-3.1-8B", "batch": QWEN, "code": "mistralai/Mistral-7B-v0.3"}


def document(desired: Desired) -> Plan:
    return Plan(desired=desired, prior=Prior(serial=0, state_hash=state_hash(State())), actions=())


def judge_of(desired: Desired) -> BurstJudge:
    return BurstJudge(desired, planned_world(document(desired), builtin().gpu, architecture_of), 50)


def of_chat(desired: Desired, factor: float = 2.0) -> Burst:
    return burst(judge_of(desired), row(desired, "chat"), factor)


def problems(desired: Desired, *entries: Burst) -> str:
    return "\n".join(burst_problems(desired.model_copy(update={"playbook": entries})))


def words(entry: Burst) -> list[str]:
    return [f"{step.kind} {step.workload or step.replica}" for step in entry.steps]


def with_rules(desired: Desired, **changes: Any) -> Desired:
    return desired.model_copy(update={"rules": desired.rules.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("fleet", "steps"),
    [
        ({}, ["throttle batch", "sleep batch-0", "wake chat-1"]),
        ({"sleeps": False}, ["throttle batch", "stop batch-0", "wake chat-1"]),
        # others of its model go on with what it did
        ({"spare": True}, ["sleep batch-0", "wake chat-1"]),
        # there is room beside it, which costs nobody anything; and its part of the time is wanted
        ({"kv_mib": 8192}, ["wake chat-1", "throttle batch"]),
    ],
    ids=["sleeps", "stops", "spare", "free"],
)
def test_a_sleeper_wakes_once_there_is_room(fleet: dict[str, Any], steps: list[str]) -> None:
    desired = chat_beside_batch(**fleet)
    entry = of_chat(desired)
    assert words(entry) == steps
    assert entry.attainment_fraction < desired.risk.attainment_fraction <= entry.last_fraction
    assert (entry.kept_load_factor, entry.last_late_rps) == (2.0, {})
    assert problems(desired, entry) == ""
    written = document(desired.model_copy(update={"playbook": (entry,)}))
    assert plan_from_json(to_json(written), "plan.json") == written


def test_steps_say_what_they_free_and_take_and_how_long() -> None:
    desired = chat_beside_batch(spare=True)
    entry = of_chat(desired)
    asleep, woken = entry.steps
    replicas = {item.name: item for item in desired.replicas}
    freed_mib = replicas["batch-0"].ledger.total_mib - asleep_mib(replicas["batch-0"])
    assert [(item.replica, item.memory_mib, item.rate_rps) for item in asleep.frees] == [("batch-0", freed_mib, 0.5)]
    assert asleep.takes_s > sleep_s(replicas["batch-0"], 1) + 5.0
    assert woken.takes_s == wake_s(replicas["chat-1"], 1)
    assert woken.memory_mib == replicas["chat-1"].ledger.total_mib - asleep_mib(replicas["chat-1"])
    assert "\n".join(entry_lines(entry, 0.99)) == (
        f"chat x2: keeps {entry.attainment_fraction:.1%}; put batch-0 to sleep (level 1, takes {asleep.takes_s:.0f} s), then wake chat-1 "
        f"(takes 2 s): 100.0%\n"
        f"  1. put batch-0 to sleep (level 1, takes {asleep.takes_s:.0f} s): keeps {asleep.attainment_fraction:.1%} then\n"
        f"     frees {freed_mib} MiB, 0.5 requests/s and 30% of the time of batch-0\n"
        "  2. wake chat-1 (takes 2 s): keeps 100.0% then\n"
        f"     takes {woken.memory_mib} MiB more of its GPU than asleep"
    )


def test_fields_of_replicas_are_written_only_where_they_say_something() -> None:
    throttle, asleep, woken = (step.model_dump() for step in of_chat(chat_beside_batch()).steps)
    old = {"kind", "workload", "frees", "takes_s", "refused_rps", "attainment_fraction", "late_rps"}
    assert throttle.keys() == old
    assert throttle["frees"][0].keys() == {"replica", "rate_rps", "busy_fraction"}
    assert asleep.keys() == old - {"workload"} | {"replica", "level"}
    assert woken.keys() == old - {"workload"} | {"replica", "memory_mib"}


def test_who_may_not_yield_keeps_its_place() -> None:
    desired = chat_beside_batch()
    budget = desired.rules.disruption_budget.model_copy(update={"protected": ("batch",)})
    assert words(of_chat(with_rules(desired, disruption_budget=budget))) == []
    equal = tuple(item.model_copy(update={"priority": 100}) for item in desired.workloads)
    assert words(of_chat(desired.model_copy(update={"workloads": equal}))) == []


def test_where_there_is_room_one_wakes_beside_who_may_not_yield() -> None:
    desired = chat_beside_batch(kv_mib=8192, batch_rps=0.02)
    budget = desired.rules.disruption_budget.model_copy(update={"protected": ("batch",)})
    entry = of_chat(with_rules(desired, disruption_budget=budget))
    assert words(entry) == ["wake chat-1"]
    assert entry.attainment_fraction < 0.5 < entry.last_fraction


def test_a_model_keeps_its_least_number_of_replicas_or_is_refused_as_a_whole() -> None:
    desired = chat_beside_batch(spare=True)
    models = tuple(item.model_copy(update={"min_replicas": 2 * (item.served_name == "batch")}) for item in desired.rules.models)
    guarded = with_rules(desired, models=models)
    assert words(of_chat(guarded)) == ["throttle batch", "sleep batch-0", "wake chat-1"]
    assert "after which batch has 1 of at least 2 replicas, and batch is not refused before" in problems(guarded, of_chat(desired))


def test_a_host_without_room_for_weights_lets_it_sleep_at_level_2() -> None:
    desired = chat_beside_batch()
    small = desired.model_copy(update={"nodes": tuple(item.model_copy(update={"host_memory_mib": 40_000}) for item in desired.nodes)})
    entry = of_chat(small)
    assert [step.level for step in entry.steps if step.kind == "sleep"] == [2]
    assert problems(small, entry) == ""
    assert "at level 1, where" in problems(small, of_chat(desired))


def test_a_neighbour_as_urgent_keeps_its_goals_or_nobody_wakes() -> None:
    desired = chat_beside_batch(kv_mib=8192)
    tight = {"priority": 100, "ttft_slo_s": 0.03, "tpot_slo_s": 0.012}
    workloads = tuple(item.model_copy(update=tight if item.name == "batch" else {}) for item in desired.workloads)
    assert words(of_chat(desired.model_copy(update={"workloads": workloads}))) == []


def change(entry: Burst, number: int, **changes: Any) -> Burst:
    steps = list(entry.steps)
    steps[number] = steps[number].model_copy(update=changes)
    return entry.model_copy(update={"steps": tuple(steps)})


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (0, {"replica": "batch-0"}, "refuses batch, and says something of a replica"),
        (1, {"replica": "nobody"}, "puts nobody to sleep, which the plan does not have"),
        (1, {"replica": "chat-1"}, "puts chat-1 to sleep, which is not awake then"),
        (1, {"replica": "chat-0"}, "puts chat-0 to sleep, which serves the workload with the burst itself"),
        (1, {"replica": "chat-0"}, "puts chat-0 to sleep, and nobody wakes on its GPU afterwards"),
        (1, {"level": None}, "puts batch-0 to sleep, which needs a level"),
        (1, {"kind": "stop"}, "stops batch-0 at a sleep level"),
        (1, {"frees": ()}, "puts batch-0 to sleep, and does not free"),
        (1, {"takes_s": 0.1}, "puts batch-0 to sleep within 0.1 s, and that alone takes"),
        (1, {"workload": "batch"}, "step 2 lets batch-0 sleep and refuses somebody, too"),
        (2, {"replica": "batch-0"}, "wakes batch-0, which does not sleep in the plan"),
        (2, {"replica": "chat-0"}, "wakes chat-0, which does not sleep in the plan, or is awake then"),
        (2, {"memory_mib": 1}, "wakes chat-1 with 1 MiB, and it takes 56928 MiB more than asleep"),
        (2, {"takes_s": 0.1}, "wakes chat-1 within 0.1 s, and that takes"),
        (2, {"level": 1}, "wakes chat-1, and says that this frees something"),
    ],
)
def test_the_checker_refuses_a_step_that_cannot_be(number: int, changes: dict[str, Any], said: str) -> None:
    desired = chat_beside_batch()
    assert said in problems(desired, change(of_chat(desired), number, **changes))


def test_the_checker_refuses_what_has_no_room_or_not_yet_and_who_is_more_urgent() -> None:
    desired = chat_beside_batch()
    entry = of_chat(desired)
    throttle, asleep, woken = entry.steps
    early = entry.model_copy(update={"steps": (throttle, woken, asleep)})
    assert "wakes chat-1 on node h100-0, GPU 1, where 117952 MiB would be needed and 80066 MiB may be used" in problems(desired, early)
    before = entry.model_copy(update={"steps": (asleep, woken)})
    assert "after which batch has 0 of at least 1 replicas, and batch is not refused before" in problems(desired, before)
    twice = entry.model_copy(update={"steps": (throttle, asleep, woken, woken)})
    assert "wakes chat-1, which does not sleep in the plan, or is awake then" in problems(desired, twice)
    urgent = tuple(item.model_copy(update={"priority": 100}) for item in desired.workloads)
    said = problems(desired.model_copy(update={"workloads": urgent}), entry)
    assert "puts batch-0 to sleep, which serves batch of priority 100, not below 100" in said
    budget = desired.rules.disruption_budget.model_copy(update={"protected": ("batch",)})
    said = problems(with_rules(desired, disruption_budget=budget), entry)
    assert "puts batch-0 to sleep, which policy.disruption_budget protects" in said
    late = change(of_chat(chat_beside_batch(spare=True)), 1, late_rps={"batch": 0.5})
    same = chat_beside_batch(spare=True)
    assert "makes 0.5 requests/s of batch late" in problems(
        same.model_copy(update={"workloads": tuple(item.model_copy(update={"priority": 100}) for item in same.workloads)}), late
    )
    plain = tuple(item.model_copy(update={"args": item.args.model_copy(update={"enable_sleep_mode": False})}) for item in desired.replicas)
    assert "batch-0 to sleep, which runs without enable_sleep_mode" in problems(desired.model_copy(update={"replicas": plain}), entry)


def test_a_step_for_another_model_is_no_step() -> None:
    desired = chat_beside_batch()
    other = tuple(item.model_copy(update={"served_name": "code"}) if item.name == "chat-1" else item for item in desired.replicas)
    said = problems(desired.model_copy(update={"replicas": other}), of_chat(desired))
    assert "wakes chat-1, which serves code and not chat on a whole GPU" in said


def test_whatif_simulates_who_wakes_and_who_sleeps() -> None:
    desired = chat_beside_batch()
    answer = burst_answer(document(desired), "chat", 2.0, 60.0)
    rows = {item.workload: item for item in answer.rows}
    assert words(answer.burst) == ["throttle batch", "sleep batch-0", "wake chat-1"]
    assert rows["chat"].without_fraction is not None
    assert rows["chat"].with_fraction is not None
    assert rows["chat"].without_fraction < 0.9 < rows["chat"].with_fraction
    assert (rows["batch"].with_fraction, rows["batch"].refused_requests) == (0.0, rows["batch"].requests)


def test_the_world_after_the_moves_and_back() -> None:
    desired = chat_beside_batch(sleeps=False)
    then = moved(desired, moves_of(of_chat(desired).steps))
    assert [item.name for item in then.replicas] == ["chat-0", "chat-1"]
    assert then.asleep == ()
    assert {route.served_name: [item.replica for item in route.backends] for route in then.routes} == {
        "batch": [],
        "chat": ["chat-0", "chat-1"],
    }
    assert [(gpu.replicas, gpu.memory_mib - gpu.free_mib) for gpu in then.gpus][1] == (("chat-1",), 58_976)
    assert moved(desired, BurstMoves()) is desired


def random_sleepers(seed: int) -> Desired:
    """Up to three GPUs with any of three models that fit, of which some replicas sleep, with any priorities and rates."""
    rng = Random(seed)
    replicas: list[Replica] = []
    asleep: list[str] = []
    for gpu in range(rng.randint(2, 3)):
        left_mib = builtin().gpu("H100-SXM-80GB").memory_usable_mib - HEADROOM_MIB
        for name in rng.sample(sorted(MODELS), rng.randint(1, 3)):
            sleeps, kv_mib = name == "chat" or rng.random() < 0.6, 1024 * rng.choice([8, 30, 40, 40])
            one = resident(
                f"{name}-{gpu}",
                MODELS[name],
                8100 + len(replicas),
                gpu,
                kv_mib=kv_mib,
                sleeps=sleeps,
                planned_rps=rng.choice([0.5, 8.0, 16.0]),
            )
            lies = sleeps and rng.random() < (0.8 if name == "chat" and gpu else 0.2)
            held_mib = asleep_mib(one) if lies else one.ledger.total_mib
            if held_mib <= left_mib:
                left_mib -= held_mib
                replicas.append(one)
                asleep += [one.name] * lies
    awake = {item.served_name for item in replicas if item.name not in asleep}
    desired = with_asleep(replicas, tuple(asleep), gpu_count=3)
    workloads = []
    for item in desired.workloads:
        if item.served_name not in awake:
            continue
        rate_rps = sum(one.planned_rps for one in desired.replicas if one.served_name == item.served_name)
        goals = {"ttft_slo_s": rng.choice([0.5, 2.0, 30.0]), "tpot_slo_s": rng.choice([0.03, 0.05, 0.5])}
        priority = rng.choice([50, 100, 100] if item.served_name == "chat" else [10, 50, 100])
        changes = {"name": item.served_name, "priority": priority, "rate_rps": rate_rps, **goals}
        workloads.append(item.model_copy(update=changes))
    host_mib = rng.choice([1 << 20, 100_000])
    nodes = tuple(item.model_copy(update={"host_memory_mib": host_mib}) for item in desired.nodes)
    return desired.model_copy(update={"workloads": tuple(workloads), "nodes": nodes})


def over_committed(desired: Desired, moves: BurstMoves) -> list[str]:
    """GPUs whose residents want more than there is, those that sleep counted with what they keep."""
    asleep = ({item.name for item in desired.asleep} - {*moves.woken}) | {item.name for item in moves.asleep}
    found = []
    for gpu in desired.gpus:
        here = [item for item in desired.replicas if gpu.index in item.gpus and item.name not in moves.stopped]
        used_mib = sum(asleep_mib(item) if item.name in asleep else item.ledger.total_mib for item in here)
        found += [f"GPU {gpu.index}"] * (used_mib + gpu.headroom_mib > gpu.memory_mib)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([1.5, 2.0, 4.0]))
def test_no_step_over_commits_a_gpu_and_nobody_as_urgent_yields(seed: int, factor: float) -> None:
    desired = random_sleepers(seed)
    if not desired.workloads:
        return
    # in four of five the one whose replicas sleep most
    ordered = sorted(desired.workloads, key=lambda item: item.name != "chat")
    chosen = ordered[-1 if seed % 5 == 0 else 0]
    entry = burst(judge_of(desired), chosen, factor)
    assert problems(desired, entry) == ""
    urgency = {item.served_name: item.priority for item in desired.workloads}
    refused: set[str] = set()
    for count, step in enumerate(entry.steps, start=1):
        refused |= {*step.refuses}
        moves = moves_of(entry.steps[:count])
        assert over_committed(desired, moves) == []
        then = moved(desired, moves)
        served = {route.served_name for route in then.routes if route.backends}
        assert {item.name for item in desired.workloads} - served <= refused
        for name in moves.gone:
            assert urgency.get(name.partition("-")[0], -1) < chosen.priority
        assert all(gpu.free_mib >= 0 for gpu in then.gpus)
    assert all(urgency[name] < chosen.priority for name in refused)
    alone = next((step.late_rps for step in reversed(entry.steps) if step.kind == "throttle"), entry.late_rps)
    late = {name for name in entry.last_late_rps if urgency[name] >= chosen.priority}
    assert late <= alone.keys()
