"""Pricing of MIG patterns against all fillings of a small group's layouts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations_with_replacement
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.problem import Demand, Pool, Problem, Shape
from solvers.model.arrays import Floats
from solvers.model.slots import Group, slots
from solvers.model.useful_shapes import candidates
from solvers.searches import slices
from solvers.searches.slices import Slices
from tests.strategies import MIG_LAYOUTS

MANY = settings(deadline=None, max_examples=150)


@dataclass(frozen=True)
class PricedSlices:
    """A group of MIG classes, and whole values per class: their sums are exact."""

    group: Group
    values: Floats

    def worth(self, pattern: tuple[int, ...]) -> float:
        return float(sum(max(0.0, self.values[slot]) for slot in pattern))

    def legal(self, pattern: tuple[int, ...]) -> bool:
        group = self.group
        items = [group.classes.index(slot) for slot in pattern]
        tags = {group.tags[item] for item in items}
        profiles = Counter(group.profiles[item] for item in items)
        fits = all(sum(group.weights[item][row] for item in items) <= limit for row, limit in enumerate(group.limits))
        return (
            fits
            and any(profiles <= Counter(layout) for layout in group.layouts)
            and all(group.strangers[i].isdisjoint(tags) for i in items)
        )

    def patterns(self) -> list[tuple[int, ...]]:
        """Every legal pattern."""
        sizes = range(max(map(len, self.group.layouts), default=0) + 1)
        return [each for size in sizes for each in combinations_with_replacement(self.group.classes, size) if self.legal(each)]

    def best(self) -> float:
        return max(map(self.worth, self.patterns()))


def priced_slices(seed: int) -> PricedSlices:
    rng = Random(seed)
    cores, memory_mib = rng.choice([(1_000_000, 1_000_000_000), (8, 1_000_000_000), (8, 100), (4, 60)])
    pool = Pool("p", 1, 1, 100, 1, mig_layouts=MIG_LAYOUTS, host_cores_per_gpu=cores, host_memory_mib_per_gpu=memory_mib)
    apart = rng.random() < 0.6
    demands = tuple(
        Demand(f"d{i}", (100,), not_with=frozenset([rng.choice([j for j in range(4) if j != i])] if apart and rng.random() < 0.5 else []))
        for i in range(4)
    )
    alike = rng.random() < 0.3
    shapes = tuple(
        Shape(
            f"s{i}",
            rng.randrange(4),
            0,
            "mig",
            20,
            10 + i,
            mig_profile=rng.choice(["half", "quarter"]),
            host_cores=2 if alike else rng.randint(0, 4),
            host_memory_mib=10 if alike else rng.randint(0, 50),
        )
        for i in range(rng.randint(1, 7))
    )
    problem = Problem((pool,), demands, shapes)
    found = slots(problem, candidates(problem))
    values = np.array([float(rng.choice([-2, 0, *range(1, 20)])) for _ in found.classes])
    return PricedSlices(found.groups[0], values)


SEEDS = st.integers(0, 2**32)


@MANY
@given(SEEDS, st.sampled_from([0.0, 0.5, 0.99, 1.0, 1.5]))
def test_the_best_pattern_is_the_best_of_all_layouts(seed: int, part: float) -> None:
    one = priced_slices(seed)
    best = one.best()
    seller = Slices(one.group)
    seller.price(one.values)
    price = part * best
    found = seller.best(price)
    assert found.upper_value >= best
    assert all(one.legal(pattern) and one.worth(pattern) > price for pattern in found.patterns)
    if best > price:
        assert max(map(one.worth, found.patterns)) == best == found.upper_value
    else:
        assert found.patterns == []


@pytest.mark.parametrize("most", [1, 5])
@MANY
@given(seed=SEEDS)
def test_a_filling_that_is_cut_off_leaves_an_upper_value(most: int, seed: int) -> None:
    one = priced_slices(seed)
    with pytest.MonkeyPatch.context() as patch:
        # the default was taken when the class was made
        patch.setattr(slices._Filling.__init__, "__defaults__", (most, *(slices._Filling.__init__.__defaults__ or ())[1:]))
        seller = Slices(one.group)
        seller.price(one.values)
        found = seller.best(0.0)
    assert found.upper_value >= one.best()
    assert all(map(one.legal, found.patterns))


@MANY
@given(SEEDS)
def test_patterns_around_slices_are_legal(seed: int) -> None:
    one = priced_slices(seed)
    seller = Slices(one.group)
    seller.price(one.values)
    assert all(map(one.legal, seller.around(one.group.classes)))


@MANY
@given(SEEDS)
def test_what_a_slice_may_cost_pays_no_gpu(seed: int) -> None:
    one = priced_slices(seed)
    seller = Slices(one.group)
    seller.price(one.values)
    price = one.best()
    for slot, room in zip(one.group.classes, seller.headroom(price), strict=True):
        beside = max((one.worth(pattern) - one.worth((slot,)) for pattern in one.patterns() if slot in pattern), default=0.0)
        assert room + beside <= max(price, beside) + 1e-9
