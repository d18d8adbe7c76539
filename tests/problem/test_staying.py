"""Which engines stay on a GPU that gets other residents, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.problem import Demand, MigSlot, Pool, Problem, Shape, load_mib, staying, stays_as

SMALL = Shape("small", 0, 0, "time_shared", 40, 10, max_residents=3, weights_mib=7)
LARGE = replace(SMALL, name="large", memory_mib=60)
OTHER = replace(SMALL, name="other", demand=1, weights_mib=20)
DEMANDS = (Demand("one", (10,)), Demand("two", (10,)))


def problem(*shapes: Shape, memory_mib: int = 100) -> Problem:
    return Problem((Pool("p", 1, 2, memory_mib, 1),), DEMANDS, shapes)


def test_what_is_just_the_same_stays() -> None:
    here = problem(SMALL, OTHER)
    assert staying(here, (0, 1), (1, 0)) == {0: 1, 1: 0}
    assert load_mib(here, (0, 1), (1, 0)) == 0
    assert load_mib(here, (0, 1), (0,)) == 20
    assert load_mib(here, (0, 1), ()) == 27


def test_an_engine_with_more_memory_than_is_asked_for_stays_where_there_is_room() -> None:
    assert staying(problem(SMALL, LARGE, OTHER), (0, 2), (1,)) == {0: 0}
    assert staying(problem(SMALL, LARGE, OTHER, memory_mib=99), (0, 2), (1,)) == {}


def test_room_to_start_again_counts() -> None:
    starts = replace(OTHER, start_extra_mib=1)
    assert staying(problem(SMALL, LARGE, starts), (0, 2), (1,)) == {}


@pytest.mark.parametrize(
    "changes",
    [{"demand": 1}, {"mode": "mps"}, {"gpus": 2}, {"weights_mib": 8}, {"memory_mib": 39}],
)
def test_another_model_kind_or_a_smaller_engine_does_not_count_as_one(changes: dict[str, object]) -> None:
    other = replace(SMALL, **changes)  # type: ignore[arg-type]
    assert stays_as(problem(SMALL, replace(SMALL, max_residents=2)), 0, 1)
    assert not stays_as(problem(other, SMALL), 0, 1)


def test_each_engine_counts_once() -> None:
    instance = replace(SMALL, mode="mig", mig_profile="1g")
    pool = Pool("p", 1, 1, 100, 1, mig_layouts=((MigSlot("1g", 0), MigSlot("1g", 1)),))
    here = Problem((pool,), DEMANDS, (instance,))
    assert staying(here, (0, 0), (0,)) == {0: 0}
    assert load_mib(here, (0, 0), (0,)) == 7
