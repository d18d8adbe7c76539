"""Additions beside what runs: everybody stays, patterns stay legal, and at equal cost such an answer wins over one that moves others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.choice.beside import cheapest_addition, patterns_beside
from planner.choice.choose import ADDED, choose, sparing_answers
from planner.plan import State, as_applied
from planner.problem import (
    MICRO,
    Billing,
    Demand,
    Holding,
    MigSlot,
    Pattern,
    Pool,
    Problem,
    Shape,
    blocks_used,
    holdings_now,
    pattern_violations,
)
from planner.sizing.blueprint import Blueprint, build
from planner.spec import Fleet
from solvers.baselines.first_fit import solve as first_fit
from solvers.solution import answer
from tests.fleets import fleet, workload
from tests.strategies import problems
from ullage.planning.plan import plan_fleet


@given(problems(), st.integers(1, 4))
def test_invariant_17_whoever_runs_stays_and_every_pattern_is_legal(problem: Problem, times: int) -> None:
    running = first_fit(problem).patterns
    holdings = Counter({(pattern.pool, pattern.residents): 0 for pattern in running})
    for pattern in running:
        holdings[pattern.pool, pattern.residents] += pattern.count
    more = replace(
        problem,
        demands=tuple(replace(item, rate_microrps=tuple(times * rate for rate in item.rate_microrps)) for item in problem.demands),
    )
    found = patterns_beside(more, holdings)
    if found is None:
        return
    for pattern in found:
        assert not list(pattern_violations(more, pattern))
    for index, pool in enumerate(more.pools):
        assert sum(blocks_used(more, found, index).values()) <= pool.gpus
    before = Counter(i for (_, residents), count in holdings.items() for i in residents for _ in range(count))
    after = Counter(i for pattern in found for i in pattern.residents for _ in range(pattern.count))
    assert before <= after


POOL = {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}


def grown() -> tuple[Fleet, Blueprint]:
    """Two alike GPUs in pools of their own, as planned without the large model, which is then asked for."""
    pools = {"one": POOL, "other": POOL}
    first = plan_fleet(fleet(pools=pools, workloads={name: workload(name) for name in ("small", "middle")}), State()).plan
    return fleet(pools=pools), build(fleet(pools=pools), as_applied(first))


def test_a_newcomer_joins_what_runs() -> None:
    problem = grown()[1].problem
    holdings = holdings_now(problem)
    assert sum(holdings.values()) == 1
    large = next(i for i, demand in enumerate(problem.demands) if demand.name == "large")
    addition = cheapest_addition(problem, large, holdings)
    assert addition is not None
    assert (addition.replicas, addition.joined, addition.cost_microusd_per_h) == (1, 1, 0)


def test_at_equal_cost_the_answer_that_moves_nobody_wins() -> None:
    here, blueprint = grown()
    problem = blueprint.problem
    beside = patterns_beside(problem, holdings_now(problem))
    assert beside is not None
    (pattern,) = beside
    # the same replicas, with their floors, on the GPU of the other pool
    other = 1 - pattern.pool
    anonymous = [replace(shape, name="", pool=0, memory_mib=0, start_extra_mib=0) for shape in problem.shapes]
    twins = [
        next(i for i, shape in enumerate(problem.shapes) if shape.pool == other and anonymous[i] == anonymous[index])
        for index in pattern.residents
    ]
    moved = answer(problem, "moves", (Pattern(other, tuple(sorted(twins))),))
    assert not any(moved.unserved_microrps)
    choice = choose(here, blueprint, moved, [moved], list(sparing_answers(blueprint.problem, moved, [moved])))
    assert choice.solution.engine == ADDED
    assert choice.solution.patterns == beside
    assert choice.solution.cost_microusd_per_h == moved.cost_microusd_per_h


SLOTS = tuple(MigSlot("1g.10gb", start) for start in range(7))


def sliced(nodes: int, billing: Billing, asked_microrps: int, tolerate_nodes: int = 0) -> Problem:
    """A pool of GPUs of seven MIG instances each, at 4 USD/h, and a model of which one instance carries 1 request/s."""
    pool = Pool("sliced", nodes, 2, 9000, 4 * MICRO, billing=billing, mig_layouts=(SLOTS,))
    shape = Shape("slice", 0, 0, "mig", 8000, MICRO, mig_profile="1g.10gb")
    return Problem((pool,), (Demand("new", (asked_microrps,), tolerate_nodes=tolerate_nodes),), (shape,))


@pytest.mark.parametrize(
    ("asked_rps", "billing", "in_use", "expected"),
    [
        # eight instances: a GPU of seven and one more
        (8, "gpu", (), (8, 0, 8 * MICRO)),
        (8, "node", (), (8, 0, 8 * MICRO)),
        (7, "gpu", (), (7, 0, 4 * MICRO)),
        (14, "node", (), (14, 0, 8 * MICRO)),
        (15, "node", (), (15, 0, 16 * MICRO)),
        # one instance is in use and carries 1/s: six more join it
        (7, "gpu", (0,), (6, 6, 0)),
        (9, "gpu", (0,), (8, 6, 4 * MICRO)),
    ],
)
def test_mig_instances_of_one_gpu_are_paid_once(
    asked_rps: int, billing: Billing, in_use: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    holdings: Counter[Holding] = Counter({(0, in_use): 1} if in_use else {})
    found = cheapest_addition(sliced(2, billing, asked_rps * MICRO), 0, holdings)
    assert found is not None
    assert (found.replicas, found.joined, found.cost_microusd_per_h) == expected


def test_replicas_that_survive_a_node_open_gpus_of_their_own() -> None:
    found = cheapest_addition(sliced(2, "gpu", 2 * MICRO, tolerate_nodes=1), 0, Counter())
    assert found is not None
    assert (found.replicas, found.cost_microusd_per_h) == (2, 8 * MICRO)


def test_more_instances_than_the_pool_has_find_no_room() -> None:
    assert cheapest_addition(sliced(1, "gpu", 15 * MICRO), 0, Counter()) is None
