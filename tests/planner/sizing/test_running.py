"""A KV pool is a floor: engines that run count as they are while it is large enough and there is room for it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from planner.plan import Replica, State, as_applied
from planner.sizing.blueprint import build
from planner.sizing.kv_steps import STEPS_PER_OCTAVE, UNIT_BYTES, stepped_bytes
from planner.spec import Fleet
from profiles.memory.kv import kv_bytes_per_token
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet

PLENTY_BYTES = 10**13


def one(rate: str, **changes: object) -> Fleet:
    return fleet(workloads={"middle": workload("middle", rate), "small": workload("small")}, **changes)


def running(rate: str, **changes: object) -> tuple[State, Replica]:
    state = as_applied(plan_fleet(one(rate, **changes), State()).plan)
    return state, next(item for item in state.replicas if item.served_name == "middle")


def kept(now: Fleet, state: State) -> set[str]:
    """Models of which something that runs satisfies the fleet."""
    blueprint = build(now, state)
    return {blueprint.candidates[item.shape].group.name for item in blueprint.problem.current}


def test_a_larger_pool_than_is_needed_stays_with_the_memory_it_has() -> None:
    state, large = running("8/s")
    now = one("1/s")
    fresh = plan_fleet(now, State()).plan.desired.replicas
    floors_mib = [item.kv_floor_mib or 0 for item in fresh if item.served_name == "middle"]
    assert min(floors_mib) < (large.kv_floor_mib or 0) <= large.ledger.kv_mib
    plan = plan_fleet(now, state).plan
    again = next(item for item in plan.desired.replicas if item.served_name == "middle")
    assert (again.args, again.ledger) == (large.args, large.ledger)
    assert again.planned_rps == pytest.approx(1.0)
    assert plan.actions == ()


def test_a_pool_that_cannot_hold_one_request_any_more_goes() -> None:
    state, small = running("1/s")
    longer = {
        "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
        "middle": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 32768},
    }
    assert kept(one("1/s", models=longer), state) == {"small"}
    assert small.args.max_model_len == 4096


def test_a_pool_that_does_not_carry_its_part_carries_a_smaller_one() -> None:
    state, small = running("1/s")
    blueprint = build(one("30/s"), state)
    [placed] = [item for item in blueprint.problem.current if blueprint.candidates[item.shape].group.name == "middle"]
    candidate = blueprint.candidates[placed.shape]
    assert candidate.kv_bytes == small.args.kv_cache_memory_bytes
    assert candidate.capacity_rps < 30
    load = candidate.forecast(candidate.capacity_rps, 0.99)
    assert load is not None
    assert load.kv_tokens_p99 * kv_bytes_per_token(candidate.group.model.architecture, candidate.settings) <= candidate.kv_bytes


def test_less_room_than_the_pool_sends_it_away_and_more_leaves_it() -> None:
    alone = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "sharing": ["exclusive"]}}
    state, _ = running("1/s", pools=alone)
    # what is exclusive has all memory as KV cache
    assert kept(one("1/s", pools=alone, policy={"headroom": "0.5 GiB"}), state) == {"middle", "small"}
    assert kept(one("1/s", pools=alone, policy={"headroom": "4 GiB"}), state) == set()


def test_sizes_of_pools_are_an_eighth_of_an_octave_apart() -> None:
    sizes = sorted({stepped_bytes(mib * 2**20, PLENTY_BYTES) for mib in range(1, 65536, 100)})
    assert sizes[0] == UNIT_BYTES
    assert all(size % UNIT_BYTES == 0 for size in sizes)
    large = [size for size in sizes if size > 32 * UNIT_BYTES]
    ratios = [after / before for before, after in pairwise(large)]
    assert all(abs(ratio - 2 ** (1 / STEPS_PER_OCTAVE)) < 0.03 for ratio in ratios)
    assert stepped_bytes(5 * UNIT_BYTES + 1, 5 * UNIT_BYTES + 7) == 5 * UNIT_BYTES + 7
