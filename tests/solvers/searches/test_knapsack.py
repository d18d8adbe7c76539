"""Pricing of a shared GPU's patterns against all subsets of a small group."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.model.arrays import Floats
from solvers.model.slots import Group
from solvers.searches import knapsack
from solvers.searches.knapsack import Knapsack

MANY = settings(deadline=None, max_examples=200)
# the classes of a group are some of those of a problem
CLASSES = 12


@dataclass(frozen=True)
class Priced:
    """A group, and whole values per class of the problem: their sums are exact."""

    group: Group
    values: Floats

    def worth(self, pattern: tuple[int, ...]) -> float:
        return float(sum(max(0.0, self.values[slot]) for slot in pattern))

    def legal(self, pattern: tuple[int, ...]) -> bool:
        group = self.group
        items = [group.classes.index(slot) for slot in pattern]
        tags = [group.tags[item] for item in items]
        fits = all(sum(group.weights[item][row] for item in items) <= limit for row, limit in enumerate(group.limits))
        return fits and len(set(tags)) == len(tags) and all(group.strangers[item].isdisjoint(tags) for item in items)

    def patterns(self) -> list[tuple[int, ...]]:
        """Every legal pattern."""
        sizes = range(len(self.group.classes) + 1)
        return [pattern for size in sizes for pattern in combinations(self.group.classes, size) if self.legal(pattern)]

    def best(self) -> float:
        return max(map(self.worth, self.patterns()))

    def valued(self) -> set[tuple[int, ...]]:
        """Patterns of classes with a value to which no other of those can be added."""
        useful = [pattern for pattern in self.patterns() if all(self.values[slot] > 0 for slot in pattern)]
        known = set(useful)
        slots = [slot for slot in self.group.classes if self.values[slot] > 0]
        return {each for each in useful if not any(tuple(sorted((*each, slot))) in known for slot in slots if slot not in each)}


def values(rng: Random) -> Floats:
    return np.array([float(rng.choice([-3, 0, *range(1, 30)])) for _ in range(CLASSES)])


def priced(seed: int) -> Priced:
    rng = Random(seed)
    count, rows = rng.randint(1, 8), rng.randint(1, 4)
    limits = tuple(rng.choice([1, 7, 40, 1000, 80_000]) for _ in range(rows))
    most = rng.choice([2, 3, 5])
    weights = tuple(tuple(rng.randint(0, max(1, 2 * limit // most)) for limit in limits) for _ in range(count))
    tags = tuple(rng.randrange(5) for _ in range(count))
    pairs = [(rng.randrange(5), rng.randrange(5)) for _ in range(rng.choice([0, 0, 1, 3]))]
    apart = {tag: frozenset(b if a == tag else a for a, b in pairs if a != b and tag in {a, b}) for tag in range(5)}
    return Priced(
        Group(
            pool=0,
            classes=tuple(sorted(rng.sample(range(CLASSES), count))),
            weights=weights,
            limits=limits,
            most=(1,) * count,
            tags=tags,
            strangers=tuple(apart[tag] for tag in tags),
            profiles=("",) * count,
            layouts=(),
        ),
        values(rng),
    )


SEEDS = st.integers(0, 2**32)


@MANY
@given(SEEDS, st.sampled_from([0.0, 0.5, 0.99, 1.0, 1.5]))
def test_the_best_pattern_is_the_best_of_all(seed: int, part: float) -> None:
    one = priced(seed)
    best = one.best()
    seller = Knapsack(one.group)
    seller.price(one.values)
    price = part * best
    found = seller.best(price)
    assert found.upper_value >= best
    assert all(one.legal(pattern) and one.worth(pattern) > price for pattern in found.patterns)
    if best > price:
        assert max(map(one.worth, found.patterns)) == best
        assert found.upper_value == pytest.approx(best, rel=1e-8)
    else:
        assert found.patterns == []
    quick = seller.best(price, quick=True)
    assert quick.upper_value >= best
    assert all(one.legal(pattern) and one.worth(pattern) > price for pattern in quick.patterns)


@MANY
@given(SEEDS, st.sampled_from([0.5, 1.0, 1.5]))
def test_classes_may_rise_together_until_a_pattern_costs_as_much_as_its_gpu(seed: int, part: float) -> None:
    one = priced(seed)
    price = part * max(1.0, one.best())
    rise = Knapsack(one.group).spare(one.values, price)
    assert (rise >= 0.0).all()
    higher = np.maximum(0.0, one.values)
    fits = np.isfinite(rise)
    higher[np.array(one.group.classes)[fits]] += rise[fits]
    risen = Priced(one.group, higher)
    assert all(risen.worth(pattern) <= max(price, one.worth(pattern)) * (1 + 1e-12) for pattern in one.patterns())


def test_a_class_that_must_sit_alone_may_rise_to_the_price() -> None:
    alone = Group(0, (0, 1), ((6,), (7,)), (10,), (1, 1), (0, 1), (frozenset(), frozenset()), ("", ""), ())
    assert Knapsack(alone).spare(np.array([2.0, 5.0]), 5.0).tolist() == [3.0, 0.0]


@pytest.mark.parametrize("most", [0, 4])
@MANY
@given(seed=SEEDS)
def test_a_search_that_is_cut_off_leaves_an_upper_value(most: int, seed: int) -> None:
    one = priced(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "_MOST_PARTIAL", most)
        patch.setattr(knapsack, "_MOST_SEEDS", 1)
        patch.setattr(knapsack, "_MOST_COMPANIONS", 1)
        seller = Knapsack(one.group)
        seller.price(one.values)
        found = seller.best(0.0)
    assert found.upper_value >= one.best()
    assert all(map(one.legal, found.patterns))


def upper_value(one: Priced, finest: int) -> float:
    """What no pattern is worth more than, where searches give up at once and nothing is worth more than the best pattern."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "_MOST_PARTIAL", 0)
        patch.setattr(knapsack, "_FINEST", finest)
        seller = Knapsack(one.group)
        seller.price(one.values)
        found = seller.best(one.best())
    assert found.patterns == []
    return found.upper_value


@MANY
@given(SEEDS)
def test_a_finer_table_gives_an_upper_value_that_is_no_worse(seed: int) -> None:
    one = priced(seed)
    assert one.best() <= upper_value(one, 4) <= upper_value(one, 1) + 1e-6


def test_a_finer_table_tells_more_where_a_search_gives_up() -> None:
    pairs = [(upper_value(one, 4), upper_value(one, 1)) for one in map(priced, range(200))]
    assert any(fine < coarse for fine, coarse in pairs)


@MANY
@given(SEEDS, st.sampled_from([0.0, 0.4, 0.9, 1.0]))
def test_near_patterns_are_all_that_nothing_of_value_can_join(seed: int, part: float) -> None:
    one = priced(seed)
    floor = part * one.best()
    seller = Knapsack(one.group)
    seller.price(one.values)
    found = seller.near(floor, 10_000)
    assert {*found} == {pattern for pattern in one.valued() if pattern and one.worth(pattern) >= floor}
    few = seller.near(floor, 2)
    assert len(few) <= 2
    assert all(one.legal(pattern) and one.worth(pattern) >= floor for pattern in few)


@MANY
@given(SEEDS, st.sampled_from([0.3, 0.9, 1.1]))
def test_pricing_of_near_classes_alone_gives_legal_patterns(seed: int, part: float) -> None:
    one = priced(seed)
    seller = Knapsack(one.group)
    seller.price(one.values)
    seller.watch()
    later = Priced(one.group, values(Random(seed + 1)))
    seller.price(later.values, price=part * one.best(), near=True)
    price = part * later.best()
    for quick in (True, False):
        found = seller.best(price, quick=quick)
        assert all(later.legal(pattern) and later.worth(pattern) > price for pattern in found.patterns)
    # a full table afterwards knows all classes again
    seller.price(later.values)
    assert seller.best(0.0).upper_value >= later.best()


def test_a_class_that_rises_becomes_near() -> None:
    group = Group(0, (0, 1), ((6,), (7,)), (10,), (1, 1), (0, 1), (frozenset(), frozenset()), ("", ""), ())
    seller = Knapsack(group)
    seller.price(np.array([5.0, 1.0]))
    seller.watch()
    seller.price(np.array([5.0, 1.1]), price=4.0, near=True)
    assert seller.best(1.0).patterns == [(0,)]
    seller.price(np.array([1.0, 5.0]), price=4.0, near=True)
    assert seller.best(0.5).patterns == [(1,)]


@MANY
@given(SEEDS)
def test_patterns_around_classes_hold_them_and_what_they_may_cost_pays_no_gpu(seed: int) -> None:
    one = priced(seed)
    seller = Knapsack(one.group)
    seller.price(one.values)
    alone = [slot for slot in one.group.classes if one.legal((slot,))]
    found = seller.around(alone)
    assert all(map(one.legal, found))
    assert set(alone) <= {slot for pattern in found for slot in pattern}
    price = one.best()
    for slot, room in zip(one.group.classes, seller.headroom(price), strict=True):
        beside = max((one.worth(pattern) - one.worth((slot,)) for pattern in one.patterns() if slot in pattern), default=0.0)
        assert room + beside <= max(price, beside) + 1e-9
