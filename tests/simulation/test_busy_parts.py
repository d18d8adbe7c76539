"""How busy GPUs are in each part of the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.gpu_usage import busy_parts
from planner.simulation.sharing import SharedCompute
from planner.simulation.simulation_input import SimulatedGpu

GPU = SimulatedGpu("n0/gpu0", (("n0/gpu0", 1.0),))


def fractions(stretches: tuple[tuple[float, float], ...], end_s: float, part_s: float) -> list[float]:
    return [part.busy_fraction for part in busy_parts([GPU], {"n0/gpu0": stretches}, end_s, part_s)]


def test_a_stretch_counts_in_every_part_that_it_touches_and_the_last_part_may_be_short() -> None:
    found = busy_parts([GPU], {"n0/gpu0": ((0.5, 1.0), (1.5, 4.5))}, 4.5, 2.0)
    assert [(part.start_s, part.end_s) for part in found] == [(0.0, 2.0), (2.0, 4.0), (4.0, 4.5)]
    assert [part.busy_fraction for part in found] == [0.5, 1.0, 1.0]
    assert {part.gpu for part in found} == {"n0/gpu0"}


def test_slices_count_by_their_part_of_the_gpu_and_a_gpu_without_engines_is_idle() -> None:
    cut = SimulatedGpu("n0/gpu1", (("a", 4 / 7), ("b", 3 / 7)))
    found = busy_parts([cut, GPU], {"a": ((0.0, 1.0),), "b": ((0.5, 1.0),)}, 1.0, 0.5)
    assert [part.busy_fraction for part in found] == [pytest.approx(4 / 7), pytest.approx(1.0), 0.0, 0.0]


def test_no_time_has_no_parts_and_parts_have_a_length() -> None:
    assert busy_parts([GPU], {}, 0.0, 1.0) == ()
    with pytest.raises(ValueError, match=r"parts of 0 s do not divide a time"):
        busy_parts([GPU], {}, 1.0, 0.0)


def test_work_without_a_pause_is_one_stretch() -> None:
    compute = SharedCompute(1.0)
    compute.start(1.0, 0, 1.0)
    compute.start(1.5, 1, 1.0)
    compute.end()
    compute.end()
    compute.start(compute.busy_until_s[-1], 0, 0.5)
    compute.end()
    compute.start(9.0, 0, 1.0)
    compute.end()
    assert list(zip(compute.busy_from_s, compute.busy_until_s, strict=True)) == [(1.0, 3.5), (9.0, 10.0)]
    assert compute.busy_s == 3.5


@given(st.lists(st.floats(0.001, 10.0), min_size=2, max_size=20), st.floats(0.05, 30.0))
def test_the_parts_make_up_the_whole(lengths_s: list[float], part_s: float) -> None:
    edges_s, now_s = [], 0.0
    for length_s in lengths_s:
        now_s += length_s
        edges_s.append(now_s)
    stretches = tuple(zip(edges_s[::2], edges_s[1::2], strict=False))
    end_s = edges_s[-1]
    found = busy_parts([GPU], {"n0/gpu0": stretches}, end_s, part_s)
    assert all(0.0 <= part.busy_fraction <= 1.0 for part in found)
    busy_s = sum(part.busy_fraction * (part.end_s - part.start_s) for part in found)
    assert busy_s == pytest.approx(sum(until_s - from_s for from_s, until_s in stretches))
