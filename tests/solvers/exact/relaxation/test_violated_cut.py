"""The most violated cut of one demand against every way to cover it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.exact.relaxation import violated_cut
from solvers.exact.relaxation.violated_cut import Ways, covers_of, violated
from solvers.highs import Entries, LinearSolver, empty
from solvers.model.arrays import Floats, Integers
from solvers.searches.least import Cover

MANY = settings(deadline=None, max_examples=200)
SEEDS = st.integers(0, 2**32)


def covers(capacity: Integers, target: int) -> Iterator[tuple[int, ...]]:
    """Copies per option of every cover from which none can be left out."""

    def extend(option: int, missing: int, chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if option == len(capacity):
            spare = -missing
            if missing <= 0 and not any(count and size <= spare for count, size in zip(chosen, capacity, strict=True)):
                yield chosen
            return
        for count in range(max(0, -(-missing // int(capacity[option]))) + 1):
            yield from extend(option + 1, missing - count * int(capacity[option]), (*chosen, count))

    yield from extend(0, target, ())


def demand(seed: int) -> tuple[Integers, int, Random]:
    rng = Random(seed)
    target = rng.randint(1, 12)
    return np.array([rng.randint(1, target + 2) for _ in range(rng.randint(1, 4))], dtype=np.int64), target, rng


def usage_of(capacity: Integers, target: int, rng: Random) -> Floats:
    """What carries the target together, in parts of replicas that need not be a mixture of covers."""
    parts = np.array([rng.choice([0.0, rng.random()]) for _ in capacity])
    parts[rng.randrange(len(capacity))] += 0.1
    return np.asarray(parts * (target / float(parts @ np.minimum(capacity, target))))


@pytest.mark.parametrize("rounds", [1, 40])
@MANY
@given(seed=SEEDS)
def test_a_cut_holds_for_every_cover_and_not_for_what_it_cuts_off(rounds: int, seed: int) -> None:
    capacity, target, rng = demand(seed)
    usage = usage_of(capacity, target, rng)
    lean = np.array([rng.choice([math.inf, 1e-3]) for _ in capacity])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(violated_cut, "_MOST_ROUNDS", rounds)
        weights = violated(Ways(capacity, target), usage, lean)
    if weights is None:
        return
    assert np.all(weights >= 0)
    assert float(weights @ usage) < 1.0
    for cover in covers(capacity, target):
        assert float(weights @ np.array(cover)) >= 1.0 - 1e-6


@MANY
@given(SEEDS, st.integers(1, 4))
def test_mixtures_of_covers_are_never_cut_off(seed: int, count: int) -> None:
    capacity, target, rng = demand(seed)
    every = list(covers(capacity, target))
    parts = np.array([rng.random() + 0.01 for _ in range(count)])
    usage = np.asarray(parts / parts.sum() @ np.array([rng.choice(every) for _ in range(count)], dtype=np.float64))
    assert violated(Ways(capacity, target), usage, np.full(len(capacity), math.inf)) is None


@MANY
@given(SEEDS)
def test_whole_usage_is_left_alone(seed: int) -> None:
    capacity, target, rng = demand(seed)
    usage = np.array([float(rng.randint(0, 3)) for _ in capacity])
    assert violated(Ways(capacity, target), usage, np.full(len(capacity), math.inf)) is None


def test_half_a_replica_is_cut_off() -> None:
    capacity, alone = np.array([10, 4]), np.array([math.inf, math.inf])
    weights = violated(Ways(capacity, 7), np.array([0.7, 0.0]), alone)
    assert weights is not None
    # one large replica serves all, and so do two small ones
    assert weights.tolist() == pytest.approx([1.0, 1.0]) or weights.tolist() == pytest.approx([1.0, 0.5])


@MANY
@given(SEEDS, st.integers(1, 4))
def test_a_mixture_falls_apart_into_covers(seed: int, count: int) -> None:
    capacity, target, rng = demand(seed)
    every = list(covers(capacity, target))
    parts = np.array([rng.random() + 0.01 for _ in range(count)])
    usage = np.asarray(parts / parts.sum() @ np.array([rng.choice(every) for _ in range(count)], dtype=np.float64))
    found = covers_of(Ways(capacity, target), usage)
    assert all(sum(int(capacity[option]) * copies for option, copies in cover.items()) >= target for cover in found)
    # as much of them together as the usage has room for
    solver, entries = LinearSolver(), Entries()
    solver.add_rows([-math.inf] * len(capacity), usage + 1e-9, empty(len(capacity)))
    for cover in found:
        entries.add({option: float(copies) for option, copies in cover.items()})
    solver.add_columns([-1.0] * len(found), [0.0] * len(found), [math.inf] * len(found), entries)
    answer = solver.solve()
    assert answer is not None
    assert -answer.value >= 1.0 - 2 * violated_cut._LEAST_VIOLATION


def test_a_usage_that_capacity_allows_is_cut_off_where_it_takes_more() -> None:
    def two_of_each(core: Integers, weights: Floats) -> Cover:
        cheapest = int(weights.argmin())
        return Cover(2.0 * float(weights[cheapest]), Counter({cheapest: 2}))

    # one large replica would carry the peak, but two of some option are asked for: copies of one option are no covers here
    ways = Ways(np.array([10, 4]), 10, two_of_each)
    weights = violated(ways, np.array([1.0, 0.0]), np.array([math.inf, 1e-3]))
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.5, 0.5])
