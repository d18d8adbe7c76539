"""Invariant 36: the order of a change fits at every step, arrives, tells every dip, and disturbs no more than the greedy order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.check import transition_problems
from planner.check.actions import action_problems
from planner.ordering.disturbance import Disturbance, disturbance
from planner.ordering.order_puzzle import OrderPuzzle, puzzle_of
from planner.ordering.order_search import best_order
from planner.plan import Asleep, Desired, Replica, SleepLevel, Start, State, state_of
from planner.routes import routes_for
from planner.sleep_costs import RESIDUE_MIB, as_asleep
from planner.transitions.change import change
from planner.transitions.diff import diff, greedy_diff
from planner.transitions.outages import least_ready, outages
from planner.transitions.transition import Transition
from profiles.catalogue import builtin
from tests.plans import H100_USABLE_MIB, HEADROOM_MIB, plan_of, replica

ROOM_MIB = H100_USABLE_MIB - HEADROOM_MIB


def placed(
    name: str,
    gpu: int,
    mib: int,
    *,
    start_s: float = 60.0,
    port: int = 8100,
    length: int = 8192,
    mode: str = "time_shared",
    threads: int = 0,
    sleeps: bool = False,
) -> Replica:
    """A replica of the model that its name begins with; another length, other threads by MPS, or sleep mode are another engine."""
    sizes = {"weights_mib": mib - 4000, "kv_mib": 1301, "total_mib": mib, "start_peak_mib": mib}
    ledger = replica("any").ledger.model_copy(update=sizes)
    arguments: dict[str, Any] = {"port": port, "max_model_len": length, "kv_cache_memory_bytes": (mib - 4000) << 20}
    if sleeps:
        arguments["enable_sleep_mode"] = True
    if threads:
        arguments["active_thread_percentage"], mode = threads, "mps"
    return replica(name, name.split("-", maxsplit=1)[0], gpus=(gpu,), ledger=ledger, start_s=start_s, args=arguments, mode=mode)


Levels = Mapping[str, SleepLevel]


def worlds_of(
    before: Sequence[Replica],
    after: Sequence[Replica],
    gpus: int,
    at_once: int | None = None,
    asleep: tuple[Levels, Levels] = ({}, {}),
) -> tuple[State, Desired]:
    """What runs, and what is to run; who sleeps before and after."""
    desired = _with_sleepers(after, gpus, asleep[1])
    budget = desired.rules.disruption_budget.model_copy(update={"max_concurrent": at_once})
    desired = desired.model_copy(update={"rules": desired.rules.model_copy(update={"disruption_budget": budget})})
    return state_of(_with_sleepers(before, gpus, asleep[0]), 1), desired


def _with_sleepers(replicas: Sequence[Replica], gpus: int, levels: Levels) -> Desired:
    desired = plan_of(tuple(as_asleep(item) if item.name in levels else item for item in replicas), gpus).desired
    routes = routes_for([item for item in replicas if item.name not in levels], sorted({item.served_name for item in replicas}))
    asleep = tuple(Asleep(name=name, level=level) for name, level in sorted(levels.items()))
    return desired.model_copy(update={"replicas": tuple(sorted(replicas, key=lambda item: item.name)), "asleep": asleep, "routes": routes})


@st.composite
def replicas(draw: st.DrawFn, gpus: int, port: int, *, sleepers: bool = False) -> tuple[Replica, ...]:
    """Up to five replicas of three models that fit their GPUs; that may sleep, and then need not be awake together."""
    found: list[Replica] = []
    left_mib, left_threads = dict.fromkeys(range(gpus), ROOM_MIB), dict.fromkeys(range(gpus), 100)
    by_mps = draw(st.booleans())
    for number in range(draw(st.integers(1, 5))):
        model, gpu, part = draw(st.sampled_from("abc")), draw(st.integers(0, gpus - 1)), draw(st.sampled_from([12, 25, 40, 60, 99]))
        mib = ROOM_MIB * part // 100
        taken = any(item.gpus == (gpu,) and (item.served_name == model or item.mode == "exclusive") for item in found)
        exclusive = part == 99 and not sleepers
        threads = draw(st.sampled_from([10, 30, 50, 90])) if by_mps and not exclusive else 0
        if taken or mib > left_mib[gpu] or threads > left_threads[gpu] or (exclusive and left_mib[gpu] < ROOM_MIB):
            continue
        left_mib[gpu] -= RESIDUE_MIB if sleepers else mib
        left_threads[gpu] -= 0 if sleepers else threads
        name = f"{model}-{sum(item.served_name == model for item in found)}"
        start_s, length = draw(st.sampled_from([20.0, 60.0, 180.0])), draw(st.sampled_from([4096, 8192]))
        mode = "exclusive" if exclusive else "time_shared"
        sizes: dict[str, Any] = {"length": length, "mode": mode, "threads": threads, "sleeps": sleepers}
        found.append(placed(name, gpu, mib, start_s=start_s, port=port + number, **sizes))
    return tuple(found)


@st.composite
def nights(draw: st.DrawFn, found: Sequence[Replica]) -> Levels:
    """Levels of some that sleep, so that all others fit their GPUs."""
    levels: dict[str, SleepLevel] = {}
    left_mib: dict[int, int] = {}
    left_threads: dict[int, int] = {}
    for item in found:
        [gpu] = item.gpus
        here = [other for other in found if other.gpus == item.gpus]
        left_mib.setdefault(gpu, ROOM_MIB - RESIDUE_MIB * len(here))
        left_threads.setdefault(gpu, 100)
        more_mib = item.ledger.total_mib - RESIDUE_MIB
        if draw(st.booleans()) or more_mib > left_mib[gpu] or item.threads > left_threads[gpu]:
            levels[item.name] = draw(st.sampled_from([1, 2]))
        else:
            left_mib[gpu] -= more_mib
            left_threads[gpu] -= item.threads
    return levels


@st.composite
def phases(draw: st.DrawFn) -> tuple[State, Desired]:
    """Engines of which others sleep after than before; some are replaced, some stop or come. Nobody starts to sleep."""
    gpus = draw(st.integers(1, 3))
    found = draw(replicas(gpus, 8100, sleepers=True))
    levels = draw(nights(found)), draw(nights(found))
    before, after = [], []
    for item in found:
        kind = draw(st.sampled_from(["stays", "stays", "changes", "goes", "comes"]))
        if item.name in levels[1] and (
            kind in {"changes", "comes"} or levels[0].get(item.name, levels[1][item.name]) != levels[1][item.name]
        ):
            kind = "goes"
        before += [item] if kind != "comes" else []
        length = {"max_model_len": 2048}
        after += [item.model_copy(update={"args": item.args.model_copy(update=length)})] if kind == "changes" else []
        after += [item] if kind in {"stays", "comes"} else []
    slept = [
        {item.name: level[item.name] for item in side if item.name in level} for side, level in zip((before, after), levels, strict=True)
    ]
    return worlds_of(before, after, gpus + draw(st.sampled_from([0, 1])), draw(st.sampled_from([None, None, 1, 2])), (slept[0], slept[1]))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[State, Desired]:
    """What runs and what is to run, of one to three GPUs."""
    gpus = draw(st.integers(1, 3))
    before, after = draw(replicas(gpus, 8100)), draw(replicas(gpus, draw(st.sampled_from([8100, 8102, 8200]))))
    return worlds_of(before, after, gpus + draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([None, None, 1, 2])))


@settings(max_examples=100)
@given(st.one_of(worlds(), phases()))
def test_every_order_fits_arrives_and_is_no_worse_than_the_greedy(world: tuple[State, Desired]) -> None:
    """Invariant 36."""
    state, desired = world
    plan = change(state, desired)
    assert transition_problems(plan, state, builtin().gpu) == ()
    plain = greedy_diff(state, desired)
    assert disturbance(state, desired, plan.actions, plan.temporary)[:3] <= disturbance(state, desired, plain)[:3]
    without = change(state, desired, with_copies=False)
    assert disturbance(state, desired, without.actions) <= disturbance(state, desired, plain)
    assert plan.temporary or plan == without
    if not outages(state, desired, plain):
        assert plan.actions == plain
    assert diff(state_of(desired, 2), desired) == ()


def brute_force(puzzle: OrderPuzzle, gone: int = 0, come: int = 0) -> Disturbance | None:
    """The least of all orders, wave by wave, without a thought."""
    if gone == (1 << len(puzzle.going)) - 1 and come == (1 << len(puzzle.coming)) - 1:
        return Disturbance()
    best: Disturbance | None = None
    staying = [number for number in range(len(puzzle.going)) if not gone >> number & 1]
    waiting = [number for number in range(len(puzzle.coming)) if not come >> number & 1]
    for leaving in [part for count in range(len(staying) + 1) for part in combinations(staying, count)]:
        if len(leaving) > puzzle.most_leaving:
            continue
        left = gone | sum(1 << number for number in leaving)
        for starting in [part for count in range(len(waiting) + 1) for part in combinations(waiting, count)]:
            then, fits = come, bool(leaving or starting)
            for number in starting:
                fits = fits and puzzle.fits(number, left, then)
                then |= 1 << number
            rest = brute_force(puzzle, left, then) if fits else None
            if rest is not None:
                took_ms = puzzle.leaving_ms(left & ~gone) + puzzle.starts_ms(starting)
                total = _noticed(puzzle, left, come, took_ms).after(rest)
                best = total if best is None else min(best, total)
    return best


def _noticed(puzzle: OrderPuzzle, gone: int, come: int, lasts_ms: int) -> Disturbance:
    ready = [(need.staying + (need.going & ~gone).bit_count() + (need.coming & come).bit_count(), need.least) for need in puzzle.needs]
    starved = 0
    for need in puzzle.capacities:
        has = [rps for bit, rps in need.going if not bit & gone] + [rps for bit, rps in need.coming if bit & come]
        starved += sum(has) < need.capacity_rps
    short = [has for has, least in ready if has < least]
    return Disturbance(lasts_ms * short.count(0), lasts_ms * len(short), lasts_ms * starved, lasts_ms)


@settings(max_examples=60)
@given(st.one_of(worlds(), phases()))
def test_the_search_finds_what_brute_force_finds(world: tuple[State, Desired]) -> None:
    state, desired = world
    transition = Transition(state, desired, ())
    names = frozenset(item.name for item in (*transition.going, *transition.coming))
    if len(transition.going) + len(transition.coming) > 5 or transition.starts_to_sleep():
        return
    puzzle = puzzle_of(transition, least_ready(state, desired), names)
    found = best_order(puzzle)
    assert (found.cost if found else None) == brute_force(puzzle)
    if found and outages(state, desired, greedy_diff(state, desired)):
        # what was counted ahead is what the actions of the plan take
        assert disturbance(state, desired, diff(state, desired)) <= found.cost


@pytest.mark.parametrize("models", ["a", "abcd"])
def test_a_port_that_is_free_decides_who_goes_first(models: str) -> None:
    """By name the first of two goes first: but its successor waits for the port of the other one. Four such pairs are four searches."""
    before, after = (
        [
            placed(f"{model}-{part}", 2 * pair + part, 9600, port=8100 + 10 * pair + 2 * part if old else 8102 + 10 * pair + part)
            for pair, model in enumerate(models)
            for part in (0, 1)
        ]
        for old in (True, False)
    )
    state, desired = worlds_of(before, after, 2 * len(models))
    assert {item.unavailable_s for item in outages(state, desired, greedy_diff(state, desired))} == {95.0 + 60.0}
    plan = change(state, desired)
    assert plan.outages == ()
    assert list(action_problems(plan, state, builtin().gpu)) == []
    assert [action.replica for action in plan.actions if isinstance(action, Start)][:2] == ["a-1", "a-0"]


@pytest.mark.parametrize("levels", [({"z-0": 1}, {"z-0": 1}), ({"z-0": 1}, {}), ({}, {"z-0": 2})])
def test_sleepers_do_not_keep_the_best_order_from_being_found(levels: tuple[Levels, Levels]) -> None:
    """The pair above, beside one that sleeps, wakes or falls asleep."""
    before = [placed("a-0", 0, 9600, port=8100), placed("a-1", 1, 9600, port=8102)]
    after = [placed("a-0", 0, 9600, port=8102), placed("a-1", 1, 9600, port=8103)]
    last = placed("z-0", 1, 60_000, port=8110, sleeps=True)
    state, desired = worlds_of([*before, last], [*after, last], 2, asleep=levels)
    assert any(item.served_name == "a" for item in outages(state, desired, greedy_diff(state, desired)))
    plan = change(state, desired)
    assert plan.outages == ()
    assert transition_problems(plan, state, builtin().gpu) == ()


def test_a_sleeper_with_other_arguments_is_replaced_and_not_woken() -> None:
    old, new = (placed("a-0", 0, 40_000, length=length, sleeps=True) for length in (8192, 4096))
    state, desired = worlds_of([old], [new], 1, asleep=({"a-0": 1}, {}))
    plan = change(state, desired)
    assert [action.kind for action in plan.actions if action.kind != "set_routes"] == ["drain", "stop", "start"]
    assert transition_problems(plan, state, builtin().gpu) == ()


@pytest.mark.parametrize(
    ("before", "after", "gpus", "words"),
    [
        ([placed("a-0", 0, 45_000)], [placed("a-0", 0, 40_000, length=4096)], 1, "one more free GPU of pool h100 would avoid it"),
        ([placed("a-0", 0, 45_000)], [placed("a-1", 0, 40_000, port=8101)], 1, "4.8 GiB more memory on h100-0 GPU 0 would avoid it"),
        ([placed("a-0", 0, 45_000)], [placed("a-1", 1, 40_000)], 2, "one more port on 127.0.0.1 would avoid it (policy.ports)"),
    ],
)
def test_a_dip_names_what_would_avoid_it(before: list[Replica], after: list[Replica], gpus: int, words: str) -> None:
    state, desired = worlds_of(before, after, gpus)
    [outage] = change(state, desired).outages
    assert outage.reason.endswith(f"; {words}")
