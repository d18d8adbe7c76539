from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.routing import SmoothWeightedRoundRobin
from planner.simulation.sharing import SharedCompute


def _ends(compute: SharedCompute) -> list[tuple[int, float]]:
    ends = []
    while compute.next_engine is not None:
        at_s = compute.next_s
        ends.append((compute.end(), at_s))
    return ends


def test_alone_a_step_takes_exactly_its_work() -> None:
    compute = SharedCompute(1.3)
    compute.start(0.7, 0, 0.1)
    assert _ends(compute) == [(0, 0.7 + 0.1)]


@given(st.integers(2, 8), st.sampled_from([1.0, 1.25]), st.floats(1e-3, 1.0))
def test_equal_work_of_n_engines_takes_n_times_as_long(count: int, factor: float, work_s: float) -> None:
    compute = SharedCompute(factor)
    for engine in range(count):
        compute.start(0.0, engine, work_s)
    ends = _ends(compute)
    assert [engine for engine, _ in ends] == list(range(count))
    assert [at_s for _, at_s in ends] == [pytest.approx(count * factor * work_s)] * count


def test_shares_are_recomputed_when_a_neighbour_comes_and_goes() -> None:
    compute = SharedCompute(1.0)
    compute.start(0.0, 0, 1.0)
    # after 0.5 s half of engine 0's work is left; both run at half speed until engine 1 ends at 1.0 s; a quarter of the work remains
    compute.start(0.5, 1, 0.25)
    assert _ends(compute) == [(1, 1.0), (0, 1.25)]
    assert compute.busy_s == 1.25


def test_idle_time_is_not_busy() -> None:
    compute = SharedCompute(1.0)
    compute.start(0.0, 0, 1.0)
    compute.end()
    compute.start(5.0, 0, 1.0)
    assert compute.next_s == 6.0
    compute.end()
    assert compute.busy_s == 2.0


def test_work_may_be_shortened_while_it_is_done() -> None:
    compute = SharedCompute(1.0)
    compute.start(0.0, 0, 4.0)
    compute.start(1.0, 1, 2.0)
    assert compute.attained_s(2.0, 0) == 1.5
    compute.shorten(0, 2.0)
    assert _ends(compute) == [(0, 3.0), (1, 4.0)]
    assert compute.busy_s == 4.0


def test_when_parts_of_the_work_were_done() -> None:
    """Alone for one second, with a neighbour for two seconds (one second of work), alone again."""
    compute = SharedCompute(1.0)
    compute.start(0.0, 0, 4.0)
    compute.start(1.0, 1, 1.0)
    assert compute.end() == 1
    assert compute.times_s(0, np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])).tolist() == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
    # a neighbour that comes and goes meanwhile is not forgotten before the oldest work has ended
    compute.start(3.5, 1, 0.25)
    compute.end()
    assert compute.times_s(0, np.array([1.5, 2.5, 2.75, 4.0])).tolist() == [2.0, 3.5, 4.0, 5.25]


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.001, 1.0)), min_size=1, max_size=12))
def test_no_work_is_lost_or_invented(steps: list[tuple[float, float]]) -> None:
    """Without interference the GPU does one second of work per busy second, whoever shares it."""
    compute = SharedCompute(1.0)
    for engine, (start_s, work_s) in enumerate(sorted(steps)):
        while compute.next_engine is not None and compute.next_s <= start_s:
            compute.end()
        compute.start(start_s, engine, work_s)
    _ends(compute)
    assert compute.busy_s == pytest.approx(sum(work_s for _, work_s in steps))


@pytest.mark.parametrize("factor", [0.9, float("nan")])
def test_neighbours_never_speed_up(factor: float) -> None:
    with pytest.raises(ValueError, match="interference_factor"):
        SharedCompute(factor)


def test_an_idle_compute_has_no_step_to_end() -> None:
    with pytest.raises(RuntimeError, match="no step"):
        SharedCompute(1.0).end()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any), st.integers(1, 3))
def test_round_robin_is_exact_over_a_cycle(weights: list[int], cycles: int) -> None:
    route = SmoothWeightedRoundRobin([(str(index), weight) for index, weight in enumerate(weights)])
    chosen = [route.next() for _ in range(cycles * sum(weights))]
    assert [chosen.count(str(index)) for index in range(len(weights))] == [cycles * weight for weight in weights]


def test_round_robin_mixes_as_nginx_does() -> None:
    route = SmoothWeightedRoundRobin([("a", 5), ("b", 1), ("c", 1)])
    assert "".join(route.next() for _ in range(7)) == "aabacaa"


@pytest.mark.parametrize("weights", [[], [("a", 0)], [("a", 2), ("b", -1)]])
def test_routes_need_a_positive_weight(weights: list[tuple[str, int]]) -> None:
    with pytest.raises(ValueError, match="route weights"):
        SmoothWeightedRoundRobin(weights)


def test_engines_with_threads_of_their_own_work_at_once() -> None:
    compute = SharedCompute(1.0, own_threads=True)
    compute.start(0.0, 0, 1.0)
    compute.start(0.5, 1, 1.0)
    assert _ends(compute) == [(0, 1.0), (1, 1.5)]
    assert compute.busy_s == 1.5


@given(st.integers(2, 8), st.sampled_from([1.0, 1.3]))
def test_neighbours_with_threads_of_their_own_cost_the_factor_alone(count: int, factor: float) -> None:
    compute = SharedCompute(factor, own_threads=True)
    for engine in range(count):
        compute.start(0.0, engine, 1.0)
    assert [at_s for _, at_s in _ends(compute)] == [pytest.approx(factor)] * count
