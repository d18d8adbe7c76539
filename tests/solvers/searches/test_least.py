"""The cheapest cover against a dynamic program over capacities."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.searches import least
from solvers.searches.least import Cover, cheapest

MANY = settings(deadline=None, max_examples=300)


@dataclass(frozen=True)
class Case:
    """Capacity and price of each option, what must be carried by at least how many replicas, and what a unit costs that is not."""

    capacity: tuple[int, ...]
    price: tuple[float, ...]
    target: int
    lost: float
    heads: int = 0

    def cheapest(self) -> Cover:
        return cheapest(np.array(self.capacity, dtype=np.int64), np.array(self.price, dtype=np.float64), self.target, self.lost, self.heads)

    def best(self) -> float:
        """The least that a cover costs: per number of replicas (those asked for or more count alike) and capacity up to the target."""
        paid = {(0, 0): 0.0}
        for heads in range(self.heads + self.target + 1):
            for have in range(self.target + 1):
                here = paid.get((min(heads, self.heads), have))
                if here is not None:
                    for size, price in zip(self.capacity, self.price, strict=True):
                        there = min(heads + 1, self.heads), min(self.target, have + size)
                        paid[there] = min(paid.get(there, math.inf), here + price)
        left = math.inf
        for (heads, have), price in paid.items():
            if self.lost < math.inf or (heads == self.heads and have == self.target):
                left = min(left, price + (self.lost * (self.target - have) if have < self.target else 0.0))
        return left

    def cost_of(self, found: Cover) -> float:
        """What the copies of a cover cost, with what they leave."""
        missing = max(0, self.target - sum(self.capacity[option] * count for option, count in found.counts.items()))
        return sum(self.price[option] * count for option, count in found.counts.items()) + (self.lost * missing if missing else 0.0)


def case(seed: int) -> Case:
    rng = Random(seed)
    count, target = rng.choice([0, *range(1, 9)]), rng.randint(1, 60)
    capacity = tuple(rng.randint(1, rng.choice([target, 8, 2 * target])) for _ in range(count))
    whole = rng.random() < 0.5
    price = tuple(float(rng.randint(0, 9)) if whole else rng.uniform(0.1, 1.0) * size for size in capacity)
    lost = rng.choice([math.inf, math.inf, 0.0, 0.3, 1.0, 5.0])
    return Case(capacity, price, rng.choice([target, target, 0]), lost, rng.choice([0, 0, 1, 2, 5]) if math.isinf(lost) else 0)


CASES = st.integers(0, 2**32).map(case)


@MANY
@given(CASES)
def test_the_value_is_that_of_the_cheapest_cover_and_never_above(one: Case) -> None:
    found, best = one.cheapest(), one.best()
    assert found.value <= best
    assert found.value == best or math.isclose(found.value, best, rel_tol=1e-6)
    if math.isinf(best):
        assert not found.counts
    else:
        assert math.isclose(one.cost_of(found), best, rel_tol=1e-6) or one.cost_of(found) == best
        assert found.counts.total() >= one.heads


@pytest.mark.parametrize(("limit", "most"), [("_MOST_LISTS", 1), ("_MOST_LISTS", 3), ("_MOST_COPIES", 1), ("_MOST_COPIES", 12)])
@MANY
@given(one=CASES)
def test_lists_that_are_cut_off_leave_a_lower_value(limit: str, most: int, one: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(least, limit, most)
        found = one.cheapest()
    best = one.best()
    # sums in another order may differ in the last digit
    assert found.value <= best * (1 + 1e-12)
    assert one.cost_of(found) >= best * (1 - 1e-9) or (math.isinf(best) and not found.counts)
    assert math.isfinite(best) == math.isfinite(one.cost_of(found)) or not found.counts


def test_what_is_not_asked_for_costs_nothing() -> None:
    assert Case((3,), (1.0,), 0, math.inf).cheapest() == Cover(0.0, Counter())
