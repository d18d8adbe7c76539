"""Invariant 36: the order of a change fits at every step, arrives, tells every dip, and disturbs no more than the greedy order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.change import change
from planner.check import transition_problems
from planner.check.actions import action_problems
from planner.diff import diff, greedy_diff
from planner.ordering.disturbance import Disturbance, disturbance, in_ms
from planner.ordering.order_puzzle import OrderPuzzle, puzzle_of
from planner.ordering.order_search import best_order
from planner.outages import DRAIN_LIMIT_S, STOP_LIMIT_S, least_ready, outages
from planner.plan import Desired, Replica, Start, State, state_of
from planner.transition import Transition
from profiles.catalogue import builtin
from tests.plans import H100_USABLE_MIB, HEADROOM_MIB, plan_of, replica

ROOM_MIB = H100_USABLE_MIB - HEADROOM_MIB
LEAVING_MS = in_ms(DRAIN_LIMIT_S) + in_ms(STOP_LIMIT_S)


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
) -> Replica:
    """A replica of the model that its name begins with; another length, or other threads by MPS, are another engine."""
    sizes = {"weights_mib": mib - 4000, "kv_mib": 1301, "total_mib": mib, "start_peak_mib": mib}
    ledger = replica("any").ledger.model_copy(update=sizes)
    arguments: dict[str, Any] = {"port": port, "max_model_len": length, "kv_cache_memory_bytes": (mib - 4000) << 20}
    if threads:
        arguments["active_thread_percentage"], mode = threads, "mps"
    return replica(name, name.split("-", maxsplit=1)[0], gpus=(gpu,), ledger=ledger, start_s=start_s, args=arguments, mode=mode)


def worlds_of(before: Sequence[Replica], after: Sequence[Replica], gpus: int, at_once: int | None = None) -> tuple[State, Desired]:
    """What runs, and what is to run."""
    desired = plan_of(tuple(after), gpus).desired
    budget = desired.rules.disruption_budget.model_copy(update={"max_concurrent": at_once})
    desired = desired.model_copy(update={"rules": desired.rules.model_copy(update={"disruption_budget": budget})})
    return state_of(plan_of(tuple(before), gpus).desired, 1), desired


@st.composite
def replicas(draw: st.DrawFn, gpus: int, port: int) -> tuple[Replica, ...]:
    """Up to five replicas of three models that fit their GPUs."""
    found: list[Replica] = []
    left_mib, left_threads = dict.fromkeys(range(gpus), ROOM_MIB), dict.fromkeys(range(gpus), 100)
    by_mps = draw(st.booleans())
    for number in range(draw(st.integers(1, 5))):
        model, gpu, part = draw(st.sampled_from("abc")), draw(st.integers(0, gpus - 1)), draw(st.sampled_from([12, 25, 40, 60, 99]))
        mib = ROOM_MIB * part // 100
        taken = any(item.gpus == (gpu,) and (item.served_name == model or item.mode == "exclusive") for item in found)
        exclusive = part == 99
        threads = draw(st.sampled_from([10, 30, 50, 90])) if by_mps and not exclusive else 0
        if taken or mib > left_mib[gpu] or threads > left_threads[gpu] or (exclusive and left_mib[gpu] < ROOM_MIB):
            continue
        left_mib[gpu] -= mib
        left_threads[gpu] -= threads
        name = f"{model}-{sum(item.served_name == model for item in found)}"
        start_s, length = draw(st.sampled_from([20.0, 60.0, 180.0])), draw(st.sampled_from([4096, 8192]))
        mode = "exclusive" if exclusive else "time_shared"
        found.append(placed(name, gpu, mib, start_s=start_s, port=port + number, length=length, mode=mode, threads=threads))
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[State, Desired]:
    """What runs and what is to run, of one to three GPUs."""
    gpus = draw(st.integers(1, 3))
    before, after = draw(replicas(gpus, 8100)), draw(replicas(gpus, draw(st.sampled_from([8100, 8102, 8200]))))
    return worlds_of(before, after, gpus + draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([None, None, 1, 2])))


@settings(max_examples=100)
@given(worlds())
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
                total = _noticed(puzzle, left, come, (LEAVING_MS if leaving else 0) + puzzle.starts_ms(starting)).after(rest)
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
@given(worlds())
def test_the_search_finds_what_brute_force_finds(world: tuple[State, Desired]) -> None:
    state, desired = world
    transition = Transition(state, desired, ())
    names = frozenset(item.name for item in (*transition.going, *transition.coming))
    if len(transition.going) + len(transition.coming) > 5:
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
