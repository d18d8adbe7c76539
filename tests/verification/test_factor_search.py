"""The search for the largest factor: as close as asked, never outside its limits, never more trials than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.verification.factor_search import FactorSearch, FoundFactor, largest_factor


@given(st.floats(0.04, 30.0), st.floats(1.05, 3.0), st.floats(0.005, 0.2))
def test_it_finds_a_threshold_from_below(threshold: float, step_factor: float, width_fraction: float) -> None:
    search = FactorSearch(step_factor=step_factor, width_fraction=width_fraction, most_trials=500)
    tried: list[float] = []

    def bears(factor: float) -> bool:
        tried.append(factor)
        return factor <= threshold

    found = largest_factor(bears, search)
    assert found.factor <= threshold <= found.factor * (1 + width_fraction)
    assert found.trials == len(tried) == len(set(tried))
    assert search.lowest_factor <= min(tried)
    assert max(tried) <= search.highest_factor


@given(st.floats(0.001, 100.0), st.integers(1, 12))
def test_trials_are_bounded_and_only_what_was_borne_is_found(threshold: float, most_trials: int) -> None:
    tried: list[float] = []

    def bears(factor: float) -> bool:
        tried.append(factor)
        return factor <= threshold

    found = largest_factor(bears, FactorSearch(most_trials=most_trials))
    assert len(tried) == found.trials <= most_trials
    assert found.factor == max((factor for factor in tried if factor <= threshold), default=0.0)


def test_the_ends_are_reported_as_such() -> None:
    search = FactorSearch(lowest_factor=0.5, highest_factor=4.0)
    assert largest_factor(lambda _: False, search).factor == 0.0
    assert largest_factor(lambda _: True, search).factor == 4.0
    assert largest_factor(lambda factor: factor <= 1, FactorSearch(most_trials=1)) == FoundFactor(1.0, 1)


@pytest.mark.parametrize(
    ("name", "value"), [("lowest_factor", 0.0), ("highest_factor", 0.5), ("step_factor", 1.0), ("width_fraction", 0.0)]
)
def test_limits_that_leave_nothing_to_search_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        FactorSearch(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most_trials"):
        FactorSearch(most_trials=0)
