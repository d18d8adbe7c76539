"""Where a GPU breaks: what makes it break earlier, and that beyond the factor found it does break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.verification import INTERFERENCE, SLOW, FactorSearch, breaking_load, judged
from planner.verification.gpu_judge import bears
from tests.verification.residents import CONSTANT, SMALL, SPREAD, resident

SEARCH = FactorSearch(width_fraction=0.05)
# Both of two searches are 5 % wide, and with 100 requests one miss more or less decides.
NOISE = 1.15


def test_below_the_break_goals_are_kept_and_above_it_not() -> None:
    pair = [resident("a", 2.0, SPREAD), resident("b", 1.0, SPREAD)]
    found = breaking_load(pair, effort=SMALL, search=SEARCH, seed=2)
    assert SEARCH.lowest_factor < found.load_factor < SEARCH.highest_factor
    for stress in (SLOW, INTERFERENCE):
        rows = judged(pair, stress, SMALL, load_factor=found.load_factor, seed=2).workloads
        assert all(row.attainment_fraction is not None and row.attainment_fraction >= 0.99 for row in rows)
    beyond = found.load_factor * 1.5
    kept = [bears(pair, stress, SMALL, attainment_fraction=0.99, load_factor=beyond, seed=2) for stress in (SLOW, INTERFERENCE)]
    assert not all(kept)
    assert found == breaking_load(pair, effort=SMALL, search=SEARCH, seed=2)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 4.0), st.floats(0.25, 4.0), st.integers(0, 3))
def test_one_more_resident_never_helps(rate_rps: float, other_rps: float, seed: int) -> None:
    alone = breaking_load([resident("a", rate_rps)], effort=SMALL, search=SEARCH, seed=seed)
    together = breaking_load([resident("a", rate_rps), resident("b", other_rps)], effort=SMALL, search=SEARCH, seed=seed)
    assert together.load_factor <= alone.load_factor * NOISE


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.floats(0.5, 4.0), st.integers(0, 3))
def test_steps_twice_as_long_never_help(count: int, rate_rps: float, seed: int) -> None:
    names = "abc"[:count]
    fast = breaking_load([resident(name, rate_rps) for name in names], effort=SMALL, search=SEARCH, seed=seed)
    slow = breaking_load([resident(name, rate_rps, CONSTANT.slower(2)) for name in names], effort=SMALL, search=SEARCH, seed=seed)
    assert slow.load_factor <= fast.load_factor * NOISE


def test_a_lower_attainment_bears_more_and_goals_out_of_reach_bear_nothing() -> None:
    pair = [resident("a", 2.0, burstiness=4.0), resident("b", 1.0)]
    strict = breaking_load(pair, effort=SMALL, search=SEARCH)
    lax = breaking_load(pair, attainment_fraction=0.8, effort=SMALL, search=SEARCH)
    assert strict.load_factor < lax.load_factor
    hopeless = replace(pair[0], tpot_goal_s=0.001)
    assert breaking_load([hopeless], effort=SMALL, search=SEARCH).load_factor == 0.0


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_break_is_a_multiple_of_the_given_load(scale: float) -> None:
    given_load = breaking_load([resident("a", 2.0)], effort=SMALL, search=SEARCH)
    scaled = breaking_load([resident("a", 2.0 * scale)], effort=SMALL, search=SEARCH)
    assert scaled.load_factor * scale == pytest.approx(given_load.load_factor, rel=0.06)
