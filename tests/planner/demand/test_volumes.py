"""Invariant 37: a volume is done whole, inside its time, and no other way to do it has a lower peak of work."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.demand.volumes import SPARE_FRACTION, Pouring, Volume, filled, inside, pour
from planner.demand.windows import fixed_length

HOUR_S, DAY_S = 3600.0, 86_400.0

_LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=6)


@st.composite
def _pourings(draw: st.DrawFn) -> tuple[list[float], list[Pouring]]:
    """Up to four volumes that all meet each other, in up to six stretches."""
    lengths_s = [float(item) for item in draw(_LENGTHS)]
    count = len(lengths_s)
    below = tuple(float(item) for item in draw(st.lists(st.integers(0, 50), min_size=count, max_size=count)))
    names = [f"v{i}" for i in range(draw(st.integers(1, 4)))]
    spans = [tuple(sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))) for _ in names]
    work_s = [float(draw(st.integers(1, 5000))) for _ in names]
    return lengths_s, [
        Pouring(name, work, (span,), below, tuple(other for other in names if other != name))
        for name, work, span in zip(names, work_s, spans, strict=True)
    ]


def _levels(lengths_s: list[float], pourings: list[Pouring]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    found = pour(pourings, lengths_s)
    return np.array(pourings[0].below) + sum(found.values()), found


@given(_pourings())
def test_a_volume_is_done_whole_and_inside_its_time(drawn: tuple[list[float], list[Pouring]]) -> None:
    lengths_s, pourings = drawn
    _, found = _levels(lengths_s, pourings)
    for item in pourings:
        assert found[item.name] @ np.array(lengths_s) == pytest.approx(item.work_s)
        assert (found[item.name] >= 0).all()
        assert all(found[item.name][i] == 0 for i in range(len(lengths_s)) if i not in item.spans[0])


@given(_pourings())
@example(([1.0, 1.0], [Pouring("a", 10.0, ((0, 1),), (0.0, 0.0), ("b",)), Pouring("b", 10.0, ((1,),), (0.0, 0.0), ("a",))]))
def test_no_way_to_do_the_volumes_has_a_lower_peak(drawn: tuple[list[float], list[Pouring]]) -> None:
    """Whatever is done: in any set of stretches there is what others ask for, and the volumes that may be done nowhere else."""
    lengths_s, pourings = drawn
    levels, found = _levels(lengths_s, pourings)
    poured_at = [i for i in range(len(lengths_s)) if any(item[i] > 0 for item in found.values())]
    stretches = range(len(lengths_s))
    least = max(
        (sum(lengths_s[i] * pourings[0].below[i] for i in some) + sum(item.work_s for item in pourings if set(item.spans[0]) <= set(some)))
        / sum(lengths_s[i] for i in some)
        for some in chain.from_iterable(combinations(stretches, size) for size in range(1, len(lengths_s) + 1))
    )
    assert max(levels) == pytest.approx(least, rel=1e-3)
    for item in pourings:
        # no exchange between two stretches of one volume helps: what is done is done where the level is lowest
        lowest = min(levels[i] for i in item.spans[0])
        assert all(levels[i] <= lowest * (1 + 1e-3) + 1e-9 for i in item.spans[0] if found[item.name][i] > 1e-6 * max(levels))
    assert poured_at


@given(_pourings())
def test_the_order_of_volumes_raises_no_level(drawn: tuple[list[float], list[Pouring]]) -> None:
    lengths_s, pourings = drawn
    forth, back = _levels(lengths_s, pourings)[0], _levels(lengths_s, pourings[::-1])[0]
    assert forth == pytest.approx(back, rel=5e-3, abs=1e-6)


def test_volumes_that_do_not_meet_are_poured_as_if_alone() -> None:
    alone = Pouring("a", 100.0, ((0, 1),), (3.0, 0.0, 0.0), ())
    other = replace(alone, name="b", spans=((1, 2),))
    lengths_s = [10.0, 20.0, 30.0]
    assert pour([alone, other], lengths_s)["a"].tolist() == pour([alone], lengths_s)["a"].tolist()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=8), st.integers(1, 500))
def test_water_finds_one_level(stretches: list[tuple[int, int]], work: int) -> None:
    heights, lengths_s = np.array(stretches, dtype=float).T
    added = filled(heights, lengths_s, float(work))
    assert added @ lengths_s == pytest.approx(work)
    level = max(heights[added > 0] + added[added > 0])
    assert heights + added == pytest.approx(np.maximum(heights, level))


def test_stretches_inside_a_time_go_past_the_end_of_the_cycle() -> None:
    edges_s = [0.0, 5.0, 8.0, 20.0, 24.0]
    assert inside(edges_s, 20.0, 29.0) == (3, 0)
    assert inside(edges_s, 5.0, 20.0) == (1, 2)
    assert inside(edges_s, 0.0, 24.0) == (0, 1, 2, 3)
    assert inside(edges_s, 29.0, 44.0) == (1, 2)


@pytest.mark.parametrize(
    ("released_h", "deadline_h", "done_s"),
    [(22, 30, 29.6 * HOUR_S), (6, 30, 28.8 * HOUR_S), (0, 1, 57 * 60.0), (1, 1 + 1 / 60, HOUR_S + 57.0)],
)
def test_a_volume_is_done_with_time_to_spare(released_h: float, deadline_h: float, done_s: float) -> None:
    lengths = fixed_length(100)
    volume = Volume(
        requests=6e4, every_s=DAY_S, released_s=released_h * HOUR_S, deadline_s=deadline_h * HOUR_S, input=lengths, output=lengths
    )
    allowed_s = (deadline_h - released_h) * HOUR_S
    assert volume.done_s == pytest.approx(done_s, abs=1.0)
    assert volume.deadline_s - volume.done_s == pytest.approx(SPARE_FRACTION * allowed_s, abs=1.0)
    assert volume.rate_rps * (volume.done_s - volume.released_s) == pytest.approx(6e4)
    assert volume.times(7 * DAY_S)[6] == (volume.released_s + 6 * DAY_S, volume.done_s + 6 * DAY_S)
