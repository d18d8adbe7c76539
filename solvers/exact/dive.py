"""From the linear relaxation to a plan: fix mixes step by step, then pack each pool in whole GPUs.

Mixes are fixed where the relaxation is nearly decided, the rest follows the prices: while slots can be bought near their price the
program stays feasible whatever is fixed. What a demand then asks of a pool is a cutting stock problem of that pool alone.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Pattern
from solvers.exact.cutting import Cutting
from solvers.exact.relaxation import Relaxation
from solvers.model.arrays import Floats
from solvers.model.assign import assign
from solvers.model.columns import Column, MixColumn, PatternColumn, ReplicaColumn, bought

# a mix that the relaxation takes at least so much of is fixed; if there is none, the largest part of those left
_SURE = 0.999
_NEARLY = 0.5
_PART = 0.25
# a group of fixed columns may raise the value by so much
_MOST_LOSS = 1.003
# single columns that may be given up for it
_MOST_GIVEN_UP = 8


@dataclass(frozen=True, slots=True)
class DiveRounds:
    """Rounds of column generation before the first mix is fixed, and after each group of them."""

    first: int
    later: int


def dive(relaxation: Relaxation, rounds: DiveRounds, over: Callable[[], bool]) -> tuple[Pattern, ...]:
    """Patterns that serve the demands as the relaxation would, in whole numbers; pools may overflow. Over tells that time is up."""
    chosen = _mixes(relaxation, rounds, over)
    return pack(relaxation, chosen)


def _mixes(relaxation: Relaxation, rounds: DiveRounds, over: Callable[[], bool]) -> Counter[Column]:
    """Whole numbers of mixes and replicas, fixed one group after the other.

    A group that costs too much is taken back by half, a single column for good; a demand that is left without any is left out.
    """
    program = relaxation.program
    fixed: dict[int, float] = {}
    given_up: set[int] = set()
    batch: list[int] = []
    before, answer = math.inf, relaxation.refine(_undecided(relaxation, fixed), 0 if over() else rounds.first)
    while answer is not None:
        if batch and answer.value > before * _MOST_LOSS and len(given_up) < _MOST_GIVEN_UP:
            back = batch[len(batch) // 2 :]
            batch = batch[: len(batch) // 2]
            given_up.update(back if not batch else ())
            program.bound(back, [0.0] * len(back), [math.inf if batch else 0.0] * len(back))
            for i in back:
                del fixed[i]
        else:
            before = min(answer.value, before * _MOST_LOSS)
            rates = [item for item in _open(program.columns, answer.columns, fixed) if item[0] not in given_up]
            if not rates or len(given_up) >= _MOST_GIVEN_UP:
                break
            sure = [i for i, value in rates if value >= _SURE]
            batch = sure or [i for i, value in rates[: max(1, int(_PART * len(rates)))] if value >= min(_NEARLY, rates[0][1])]
            lower = [_whole(program.columns[i], float(answer.columns[i])) for i in batch]
            fixed.update(zip(batch, lower, strict=True))
            program.bound(batch, lower, [math.inf] * len(batch))
        answer = relaxation.refine(_undecided(relaxation, fixed), 0 if over() else rounds.later)
    changed = sorted({*fixed, *given_up})
    program.bound(changed, [0.0] * len(changed), [math.inf] * len(changed))
    return Counter({program.columns[i]: round(count) for i, count in fixed.items() if round(count)})


def _undecided(relaxation: Relaxation, fixed: dict[int, float]) -> list[int]:
    columns = relaxation.program.columns
    decided = {column.demand for i in fixed if isinstance(column := columns[i], MixColumn)}
    return [i for i in range(len(relaxation.master.problem.demands)) if i not in decided]


def _whole(column: Column, value: float) -> float:
    return 1.0 if isinstance(column, MixColumn) else math.ceil(value - 1e-6)


def _open(columns: Sequence[Column], values: Floats, fixed: dict[int, float]) -> list[tuple[int, float]]:
    """For every demand that is not yet fixed the column it uses most, with how much it is decided, most decided first."""
    decided = {column.demand for i in fixed if isinstance(column := columns[i], MixColumn)}
    best: dict[int, tuple[float, int]] = {}
    for i in np.flatnonzero(values > 1e-6).tolist():
        column = columns[i]
        if isinstance(column, MixColumn) and column.demand not in decided:
            best[column.demand] = max(best.get(column.demand, (0.0, -1)), (float(values[i]), -i))
        elif isinstance(column, ReplicaColumn) and i not in fixed:
            part = float(values[i]) % 1.0
            best[-1 - int(i)] = (1.0 if part < 1e-6 else part, -i)
    return sorted(((-i, value) for value, i in best.values()), key=lambda item: (-item[1], item[0]))


def pack(relaxation: Relaxation, chosen: Counter[Column]) -> tuple[Pattern, ...]:
    """Real patterns for whole numbers of mixes and replicas: cutting stock per pool."""
    master = relaxation.master
    needs: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for column, count in chosen.items():
        for shape, replicas in bought(column):
            slot = master.slots.of_shape.get(shape)
            if slot is not None:
                needs[master.slots.classes[slot].pool][slot] += replicas * count
    columns: list[Column] = list(chosen)
    counts = list(chosen.values())
    known: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
    for column in relaxation.program.columns:
        if isinstance(column, PatternColumn):
            known[column.pool].append(column.classes)
    for pool, wanted in sorted(needs.items()):
        cut = Cutting(relaxation.pricing.sellers(pool), len(master.slots.classes), wanted, known[pool]).solve()
        for classes, count in sorted(cut.items()):
            columns.append(PatternColumn(pool, classes))
            counts.append(count)
    return assign(master, columns, counts)
