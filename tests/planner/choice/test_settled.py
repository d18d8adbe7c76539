"""Answers that spare what runs: twins take the places of others, and models that lack something are replaced alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from planner.choice.settled import replaced, settled
from planner.problem import Demand, Pattern, Pool, Problem, Shape, Spot, pattern_violations, unserved
from solvers.baselines.first_fit import solve as first_fit
from tests.strategies import problems


def shape(demand: int, memory_mib: int, microrps: int = 10) -> Shape:
    return Shape(
        f"{demand} in {memory_mib}",
        demand,
        0,
        "time_shared",
        memory_mib,
        microrps,
        max_residents=3,
        active_limit_permille=1000 * 3,
        compute_permille=300,
    )


# 0 and 1 are two sizes of one model, 2 and 3 other models; 4 is the first model with less capacity
SHAPES = (shape(0, 30), shape(0, 40), shape(1, 30), shape(2, 30), shape(0, 20, 5))
PROBLEM = Problem((Pool("p", 1, 2, 100, 1_000_000),), tuple(Demand(f"demand-{i}", (10,)) for i in range(3)), SHAPES)


def test_an_engine_that_runs_takes_the_place_of_one_that_would_do_the_same() -> None:
    spots: Counter[Spot] = Counter({(0, (1, 2)): 1})
    assert settled(PROBLEM, (Pattern(0, (0, 2)), Pattern(0, (3,))), spots) == (Pattern(0, (1, 2)), Pattern(0, (3,)))


def test_one_without_room_or_capacity_does_not() -> None:
    # 40 + 30 + 30 fit in 100, 40 + 40 + 30 do not
    full = replace(PROBLEM, shapes=(*SHAPES[:3], replace(SHAPES[3], memory_mib=40), SHAPES[4]))
    assert settled(full, (Pattern(0, (0, 2, 3)),), Counter({(0, (1, 2)): 1})) == (Pattern(0, (0, 2, 3)),)
    assert settled(PROBLEM, (Pattern(0, (0, 2)),), Counter({(0, (2, 4)): 1})) == (Pattern(0, (0, 2)),)


def test_only_a_model_that_lacks_something_is_replaced() -> None:
    spots: Counter[Spot] = Counter({(0, (2, 3, 4)): 1})
    found = replaced(PROBLEM, spots)
    assert found is not None
    assert sum(unserved(PROBLEM, found)) == 0
    assert {index for pattern in found for index in pattern.residents} >= {2, 3}
    assert not any(4 in pattern.residents for pattern in found)


@given(problems(), st.integers(0, 3))
def test_what_is_settled_stays_legal_and_serves_as_much(problem: Problem, rotate: int) -> None:
    patterns = first_fit(problem).patterns
    spots = Counter({(item.pool, item.residents): 1 for item in patterns[rotate:]})
    found = settled(problem, patterns, spots)
    assert not [fault for pattern in found for fault in pattern_violations(problem, pattern)]
    assert sum(pattern.count for pattern in found) == sum(pattern.count for pattern in patterns)
    assert all(now <= before for now, before in zip(unserved(problem, found), unserved(problem, patterns), strict=True))
