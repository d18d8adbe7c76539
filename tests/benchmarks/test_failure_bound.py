"""The bound on failures against tables and closed forms."""

from __future__ import annotations

import pytest

from benchmarks.failure_bound import highest_fraction


@pytest.mark.parametrize("tried", [1, 10, 100, 5000, 1_000_000])
def test_without_failures_it_is_the_closed_form_and_near_the_rule_of_three(tried: int) -> None:
    bound = highest_fraction(0, tried)
    assert bound == pytest.approx(1 - 0.05 ** (1 / tried), rel=1e-9)
    assert bound <= 3 / tried
    assert tried < 100 or bound == pytest.approx(3 / tried, rel=0.02)


# quantiles of the beta distribution (failed + 1, tried - failed) at 95 %, and at 97.5 %
@pytest.mark.parametrize(
    ("failed", "tried", "confidence", "bound"),
    [(1, 10, 0.95, 0.394163), (5, 10, 0.95, 0.777559), (0, 10, 0.975, 0.308497), (1, 10, 0.975, 0.445016), (2, 20, 0.95, 0.282619)],
)
def test_with_failures_it_is_that_of_the_tables(failed: int, tried: int, confidence: float, bound: float) -> None:
    assert highest_fraction(failed, tried, confidence) == pytest.approx(bound, abs=2e-6)


def test_all_failed_says_nothing_and_impossible_counts_are_refused() -> None:
    assert highest_fraction(3, 3) == 1.0
    for failed, tried in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="failed: there must be"):
            highest_fraction(failed, tried)
