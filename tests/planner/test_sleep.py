"""Sleep and wake in documents, on the way that the checker follows, and in the time that clients miss something."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.check import transition_problems
from planner.check.engines import engine_problems
from planner.check.gpus import gpu_problems
from planner.plan import (
    Action,
    Asleep,
    DocumentError,
    Drain,
    Plan,
    Replica,
    SetRoutes,
    Sleep,
    SleepLevel,
    Start,
    State,
    Stop,
    Wake,
    as_applied,
    plan_from_json,
    state_from_json,
    state_hash,
    to_json,
)
from planner.routes import routes_for
from planner.sleep_costs import RESIDUE_MIB, as_asleep, asleep_mib, sleep_s, wake_s
from planner.transitions.change import change
from profiles.catalogue import builtin
from tests.plans import H100_USABLE_MIB, HEADROOM_MIB, plan_of, replica, time_shared_plan
from tests.sleepers import first_plan, leading, second_plan, sleeper, starting, third_plan, to_bed
from ullage.checking import architecture_of

ONE, TWO = sleeper("llama-0"), sleeper("qwen-0", 8101)


def follow(plan: Plan, state: State) -> str:
    return "\n".join(transition_problems(plan, state, builtin().gpu))


def awake() -> State:
    return as_applied(first_plan(ONE))


def swapped(level: SleepLevel = 1) -> State:
    return as_applied(second_plan(ONE, TWO, awake(), level))


def with_actions(plan: Plan, change_them: Callable[[list[Action]], Sequence[Action]]) -> Plan:
    return plan.model_copy(update={"actions": tuple(change_them(list(plan.actions)))})


def test_documents_without_sleepers_are_written_as_before() -> None:
    plan, state = time_shared_plan(), as_applied(time_shared_plan())
    assert "asleep" not in to_json(plan)
    assert "asleep" not in to_json(state)
    assert plan_from_json(to_json(plan), "plan.json") == plan
    assert state_from_json(to_json(state), "state.json") == state
    assert plan.prior.state_hash == "a9f70c7735b434b6d75b397fa9eb3d183bb23c7c0a26713d96ae4915b115b74c"


def test_documents_with_sleepers_are_read_as_they_were_written() -> None:
    state = swapped()
    assert json.loads(to_json(state))["asleep"] == [{"level": 1, "name": "llama-0"}]
    assert state_from_json(to_json(state), "state.json") == state
    assert state_hash(state) != state_hash(state.model_copy(update={"asleep": ()}))
    plan = third_plan(ONE, TWO, state)
    written = json.loads(to_json(plan))
    written["desired"]["gpus"][0]["free_mib"] = 0
    assert plan_from_json(json.dumps(written), "plan.json").actions == plan.actions
    written["actions"][2]["level"] = 3
    with pytest.raises(DocumentError, match=r"actions\.2\.level"):
        plan_from_json(json.dumps(written), "plan.json")


@pytest.mark.parametrize("level", [1, 2])
def test_two_that_do_not_fit_together_take_turns(level: SleepLevel) -> None:
    assert ONE.ledger.total_mib + TWO.ledger.total_mib > H100_USABLE_MIB
    assert follow(second_plan(ONE, TWO, awake(), level), awake()) == ""
    assert follow(third_plan(ONE, TWO, swapped(level), level), swapped(level)) == ""


def test_a_sleeper_may_be_stopped_without_a_drain() -> None:
    state = swapped()
    assert follow(leading(state, [TWO], {}, [Stop(replica="llama-0")]), state) == ""


def _no_sleep_mode() -> tuple[Plan, State]:
    plain = ONE.model_copy(update={"args": ONE.args.model_copy(update={"enable_sleep_mode": False})})
    state = as_applied(first_plan(plain))
    return second_plan(plain, TWO, state), state


def _routed() -> tuple[Plan, State]:
    return with_actions(second_plan(ONE, TWO, awake()), lambda actions: actions[1:]), awake()


def _not_drained() -> tuple[Plan, State]:
    return with_actions(second_plan(ONE, TWO, awake()), lambda actions: [actions[0], *actions[2:]]), awake()


def _twice() -> tuple[Plan, State]:
    return with_actions(second_plan(ONE, TWO, awake()), lambda actions: [*actions[:3], actions[2], *actions[3:]]), awake()


def _not_there() -> tuple[Plan, State]:
    return with_actions(second_plan(ONE, TWO, awake()), lambda actions: [Sleep(replica="nobody", level=1), *actions]), awake()


def _no_room_to_wake() -> tuple[Plan, State]:
    return with_actions(third_plan(ONE, TWO, swapped()), lambda actions: [actions[3], *actions[:3], actions[4]]), swapped()


def _no_room_to_start() -> tuple[Plan, State]:
    return with_actions(second_plan(ONE, TWO, awake()), lambda actions: [actions[3], *actions[:3], actions[4]]), awake()


def _wakes_who_is_awake() -> tuple[Plan, State]:
    return with_actions(third_plan(ONE, TWO, swapped()), lambda actions: [*actions[:4], actions[3], actions[4]]), swapped()


def _routes_to_a_sleeper() -> tuple[Plan, State]:
    early = SetRoutes(routes=routes_for([ONE, TWO], ["llama", "qwen"]))
    return with_actions(third_plan(ONE, TWO, swapped()), lambda actions: [early, *actions]), swapped()


def _stays_asleep() -> tuple[Plan, State]:
    plan = second_plan(ONE, TWO, awake())
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"asleep": ()})}), awake()


def _stays_awake() -> tuple[Plan, State]:
    plan = first_plan(ONE)
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"asleep": (Asleep(name="llama-0", level=2),)})}), State()


def _small_host(memory_mib: int = 16_000, numa_nodes: int = 1) -> tuple[Plan, State]:
    plan, state = second_plan(ONE, TWO, awake()), awake()
    host = {"host_memory_mib": memory_mib, "numa_nodes": numa_nodes}
    nodes = tuple(node.model_copy(update=host) for node in plan.desired.nodes)
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"nodes": nodes})}), state


def _small_numa_node() -> tuple[Plan, State]:
    return _small_host(32_000, 2)


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (_no_sleep_mode, "puts llama-0 to sleep, which runs without enable_sleep_mode"),
        (_routed, "which still takes part in a route: its requests would wait"),
        (_not_drained, "puts llama-0 to sleep, which was not drained"),
        (_twice, "which sleeps already"),
        (_not_there, "puts nobody to sleep, which does not run"),
        (_no_room_to_wake, "actions[0]: wakes llama-0 on node h100-0, GPU 0, where 117952 MiB and 1024 MiB headroom would be needed"),
        (_no_room_to_start, "actions[0]: starts qwen-0 on node h100-0, GPU 0, where 117952 MiB and 1024 MiB headroom"),
        (_wakes_who_is_awake, "actions[4]: wakes llama-0, which does not sleep"),
        (_routes_to_a_sleeper, "actions[0]: routes to llama-0 at 127.0.0.1:8100, which sleeps at that time"),
        (_stays_asleep, "the actions leave llama-0 asleep at level 1, the plan wants it awake"),
        (_stays_awake, "the actions leave llama-0 awake, the plan wants it asleep at level 2"),
        (_small_host, "15317 MiB of them for weights, but node h100-0 has 16000 MiB"),
        (_small_numa_node, "15317 MiB of them for weights, but NUMA node 0 of h100-0 has 16000 MiB"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_every_planted_fault_is_found(planted: Callable[[], tuple[Plan, State]], words: str) -> None:
    assert words in follow(*planted())


def test_a_gpu_of_the_desired_world_counts_a_sleeper_with_its_residue() -> None:
    desired = second_plan(ONE, TWO, awake()).desired
    [blank] = plan_of((as_asleep(ONE), TWO), 1).desired.gpus
    # there headroom is not free
    gpus = (blank.model_copy(update={"free_mib": blank.free_mib + HEADROOM_MIB}),)
    assert (gpus[0].weights_mib, gpus[0].kv_mib) == (TWO.ledger.weights_mib, TWO.ledger.kv_mib)
    asleep = desired.model_copy(update={"gpus": gpus})
    assert list(gpu_problems(asleep, builtin().gpu)) == []
    assert not any("free at its start" in line for line in engine_problems(asleep, builtin().gpu, architecture_of))
    both = asleep.model_copy(update={"asleep": ()})
    assert any("residents need 117952 MiB" in line for line in gpu_problems(both, builtin().gpu))
    assert any("free at its start" in line for line in engine_problems(both, builtin().gpu, architecture_of))


def test_an_engine_that_cannot_wait_before_it_sleeps_is_refused() -> None:
    def told(version: str) -> str:
        old = ONE.model_copy(update={"engine_version": version})
        return "\n".join(engine_problems(plan_of((old,), gpu_count=1).desired, builtin().gpu, architecture_of))

    assert f"replica {ONE.name}: vLLM 0.16.0 breaks off the requests in it when it is put to sleep (right since 0.17)" in told("0.16.0")
    assert "put to sleep" not in told("0.17.0")


def test_level_2_takes_no_host_memory() -> None:
    plan, state = _small_host()
    deep = with_actions(
        plan, lambda actions: [item.model_copy(update={"level": 2}) if isinstance(item, Sleep) else item for item in actions]
    )
    assert "host memory" not in follow(deep, state)


def test_a_wake_counts_as_long_as_it_takes() -> None:
    state = awake()
    around: list[Action] = [*to_bed(state, "llama-0", 1), Wake(replica="llama-0")]
    [outage] = leading(state, [ONE], {}, around).outages
    # 60 s for requests to end, then 15 GiB of weights over the link and back
    assert outage.unavailable_s == pytest.approx(60.0 + sleep_s(ONE, 1) + wake_s(ONE, 1))
    assert 1.0 < wake_s(ONE, 1) < 6.0 < wake_s(ONE, 2) < ONE.start_s
    assert outage.reason.startswith("no room for both: llama-0 must sleep before llama-0 can wake")


def test_a_large_context_stays_when_it_sleeps() -> None:
    assert asleep_mib(ONE) == RESIDUE_MIB
    wide = ONE.model_copy(update={"ledger": ONE.ledger.model_copy(update={"context_mib": 2000})})
    assert asleep_mib(wide) == 2000 + 1076


@given(st.lists(st.integers(6_000, 60_000), min_size=1, max_size=4), st.data())
def test_memory_is_short_exactly_where_a_recount_says_so(kv_mibs: list[int], data: st.DataObject) -> None:
    """Replicas that nobody routes to start, sleep and wake as chance has it."""
    items = {f"m{number}-0": sleeper(f"m{number}-0", 8100 + number, kv_mib) for number, kv_mib in enumerate(kv_mibs)}
    actions: list[Action] = []
    held_mib: dict[str, int] = {}
    levels: dict[str, SleepLevel] = {}
    short: set[int] = set()
    for name in data.draw(st.lists(st.sampled_from(sorted(items)), min_size=1, max_size=12)):
        item = items[name]
        if name in held_mib and name not in levels:
            levels[name] = data.draw(st.sampled_from([1, 2]))
            actions += [Drain(replica=name), Sleep(replica=name, level=levels[name])]
            held_mib[name] = RESIDUE_MIB
            continue
        actions.append(Wake(replica=name) if name in levels else starting(item))
        levels.pop(name, None)
        held_mib[name] = item.ledger.total_mib
        if sum(held_mib.values()) + HEADROOM_MIB > H100_USABLE_MIB:
            short.add(len(actions) - 1)
    plan = leading(State(), [items[name] for name in sorted(held_mib)], levels, actions)
    found = transition_problems(plan, State(), builtin().gpu)
    assert {int(line[len("actions[") : line.index("]")]) for line in found} == short
    assert all("MiB headroom would be needed, but it has 81090 MiB" in line for line in found)


_LEVELS = st.dictionaries(st.sampled_from(["llama-0", "qwen-0", "zephyr-0"]), st.sampled_from([1, 2]))


@given(st.sets(st.sampled_from(["llama-0", "qwen-0", "zephyr-0"]), min_size=1), _LEVELS, _LEVELS)
def test_the_way_from_any_sleepers_to_any_others_is_sound(
    before: set[str], was: dict[str, SleepLevel], should: dict[str, SleepLevel]
) -> None:
    """Where there is room for all."""
    items = [sleeper(name, 8100 + number, kv_mib=8192) for number, name in enumerate(["llama-0", "qwen-0", "zephyr-0"])]
    there = [item for item in items if item.name in before]
    was = {name: level for name, level in was.items() if name in before}
    state = as_applied(leading(State(), there, was, []))
    desired = leading(state, items, should, []).desired
    plan = change(state, desired)
    assert follow(plan, state) == ""
    restarted = {name for name, level in was.items() if should.get(name, level) != level}
    assert {action.replica for action in plan.actions if isinstance(action, Start)} == restarted | {item.name for item in items} - before
    assert {action.replica for action in plan.actions if isinstance(action, Wake)} == was.keys() - should.keys()
    assert change(as_applied(plan), desired).actions == ()


def _asleep(names: set[str]) -> dict[str, SleepLevel]:
    return dict.fromkeys(sorted(names), 1)


def _fits(items: Sequence[Replica], asleep: dict[str, SleepLevel]) -> bool:
    held_mib = sum(asleep_mib(item) if item.name in asleep else item.ledger.total_mib for item in items)
    return held_mib + HEADROOM_MIB <= H100_USABLE_MIB


@given(st.lists(st.integers(2_000, 60_000), min_size=2, max_size=5), st.data())
def test_who_takes_turns_never_needs_more_room_than_there_is(kv_mibs: list[int], data: st.DataObject) -> None:
    """Invariant 38: sets of sleepers that fit follow each other without a step that does not."""
    items = [sleeper(f"m{number}-0", 8100 + number, kv_mib) for number, kv_mib in enumerate(kv_mibs)]
    names = st.sets(st.sampled_from([item.name for item in items]))
    was, should = (_asleep(data.draw(names)) for _ in range(2))
    assume(_fits(items, was) and _fits(items, should))
    state = as_applied(leading(State(), items, was, []))
    desired = leading(state, items, should, []).desired
    plan = change(state, desired)
    assert follow(plan, state) == ""
    assert not any(isinstance(action, Start | Stop) for action in plan.actions)
    # whoever is awake before and after serves all the time
    stays = {item.served_name for item in items if item.name not in was.keys() | should.keys()}
    for action in plan.actions:
        if isinstance(action, SetRoutes):
            assert all(route.backends for route in action.routes if route.served_name in stays)


def test_a_plan_that_wants_nobody_asleep_wakes_a_sleeper_once_there_is_room() -> None:
    state = swapped()
    plain: Replica = replica("zephyr-0", "zephyr", args={"port": 8102})
    plan = change(state, plan_of((ONE,), 1).desired)
    assert [action.kind for action in plan.actions] == ["set_routes", "drain", "stop", "wake", "set_routes"]
    assert follow(plan, state) == ""
    assert follow(change(state, plan_of((plain,), 1).desired), state) == ""
