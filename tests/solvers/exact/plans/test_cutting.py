"""Cutting stock of one pool against an integer program over every legal pattern."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings

from solvers.exact.plans.cutting import Cutting
from solvers.highs import Entries, IntegerLimits, LinearSolver, empty
from solvers.searches.knapsack import Knapsack
from tests.solvers.searches.test_knapsack import CLASSES, SEEDS, Priced, priced

SOME = settings(deadline=None, max_examples=60)


def program(one: Priced, needs: dict[int, int]) -> LinearSolver:
    """The fewest GPUs that hold some slots, over all patterns."""
    patterns = [pattern for pattern in one.patterns() if pattern]
    solver, row = LinearSolver(), {slot: at for at, slot in enumerate(needs)}
    solver.add_rows(list(needs.values()), np.full(len(needs), math.inf), empty(len(needs)))
    entries = Entries()
    for pattern in patterns:
        entries.add({row[slot]: 1.0 for slot in pattern if slot in row})
    solver.add_columns(np.ones(len(patterns)), np.zeros(len(patterns)), np.full(len(patterns), math.inf), entries)
    return solver


def needed(seed: int, largest: int) -> tuple[Priced, dict[int, int]]:
    """A group, and how many slots of each class that is legal are needed."""
    one = priced(seed)
    legal = [slot for slot in one.group.classes if one.legal((slot,))]
    return one, {slot: Random(seed + slot).randint(1, largest) for slot in legal}


def cut(one: Priced, needs: dict[int, int]) -> Counter[tuple[int, ...]]:
    """Patterns that hold what is needed, all of them legal."""
    found = Cutting([Knapsack(one.group)], CLASSES, needs, []).solve()
    held: Counter[int] = Counter()
    for pattern, count in found.items():
        assert one.legal(pattern)
        held.update(dict.fromkeys(pattern, count))
    assert all(held[slot] >= need for slot, need in needs.items())
    return found


@SOME
@given(SEEDS)
def test_few_gpus_are_as_few_as_can_be(seed: int) -> None:
    one, needs = needed(seed, 3)
    if needs:
        solver = program(one, needs)
        best = solver.solve_integer(range(solver.columns), IntegerLimits(10_000)).columns
        assert best is not None
        # an integer program over the patterns that the linear one asked for may lack one that it needs
        assert cut(one, needs).total() <= round(float(best.sum())) + 1


@pytest.mark.parametrize("largest", [60, 3_000])
@SOME
@given(seed=SEEDS)
def test_many_gpus_are_hardly_more_than_the_linear_program_says(largest: int, seed: int) -> None:
    one, needs = needed(seed, largest)
    if needs:
        least = program(one, needs).solve()
        assert least is not None
        assert cut(one, needs).total() <= least.value + 1 + len(needs) / 2
