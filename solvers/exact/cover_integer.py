"""The covering program in whole numbers: an integer program over patterns that nearly pay.

Where only capacity decides whether a demand is served, its cuts say so in replicas, and any mix of them may come out; the other demands
(a largest number of replicas, the loss of a node) choose one of their mixes, which are legal by themselves.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Pattern, blocks_used, nodes_needed
from solvers.exact.cover_root import CoverRoot, Look
from solvers.exact.mix_dive import MixDive
from solvers.highs import IntegerLimits
from solvers.model.arrays import Floats
from solvers.model.columns import Column, GpuColumn, LossColumn, MixColumn, NodeColumn, PatternColumn, ReplicaColumn
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.searches.knapsack import Knapsack
from solvers.solution import merged


@dataclass(frozen=True, slots=True)
class Breadth:
    """Which columns take part: patterns worth so much of a GPU's price (so many per group), replicas per demand, columns in all."""

    near_fraction: float = 0.94
    patterns: int = 60
    replicas: int = 10
    columns: int = 5_000


def enrich(root: CoverRoot, dive: MixDive, breadth: Breadth) -> Look | None:
    """Add what nearly pays at the duals of the program; returns the look at them."""
    answer = root.program.solver.solve()
    if answer is None:
        return None
    look = root.look(answer.duals, full=True)
    columns: list[Column] = list(look.columns)
    for group, seller in zip(root.master.slots.groups, root.pricing.every_seller, strict=True):
        if isinstance(seller, Knapsack):
            floor = look.at.gpu_prices[group.pool, 1] * breadth.near_fraction
            columns.extend(root.gpu(group.pool, pattern) for pattern in seller.near(floor, breadth.patterns))
    these = root.offers
    direct = np.flatnonzero(~these.shared)
    reduced = (look.cost - look.worth)[direct]
    order = direct[np.lexsort((reduced, these.demand[direct]))]
    demand = these.demand[order]
    first = np.arange(len(order)) - np.searchsorted(demand, demand)
    columns.extend(ReplicaColumn(int(these.demand[o]), int(these.shape[o])) for o in order[first < breadth.replicas])
    root.program.add(columns)
    dive.find_mixes([i for i in range(len(root.problem.demands)) if not these.plain[i]], answer, look)
    return look


def solve_whole(
    root: CoverRoot, dive: MixDive, incumbent: Sequence[Pattern], breadth: Breadth, limits: IntegerLimits
) -> tuple[Pattern, ...] | None:
    """The best plan that the integer program finds; None without one. incumbent is where it begins."""
    if enrich(root, dive, breadth) is None:
        return None
    program = root.program
    start = _start(root, dive, incumbent)
    answer = program.solver.solve()
    if answer is None:
        return None
    integer = program.solver.copied()
    plain = {i for i in program.mix_row if root.offers.plain[i]}
    for i, row in program.mix_row.items():
        integer.bound_row(row, *((0.0, math.inf) if i in plain else (1.0, 1.0)))
    reduced = program.of_columns(answer.reduced)
    keep = _kept(root, reduced, start, breadth.columns, plain)
    gone = [program.at(k) for k, column in enumerate(program.columns) if k not in keep and not isinstance(column, NodeColumn)]
    integer.bound_columns(gone, [0.0] * len(gone), [0.0] * len(gone))
    whole = [program.at(k) for k, column in enumerate(program.columns) if not isinstance(column, LossColumn)]
    found = integer.solve_integer(whole, limits, _values(root, start))
    if found.columns is None:
        return None
    values = program.of_columns(found.columns)
    counts = {column: round(float(value)) for column, value in zip(program.columns, values, strict=True) if round(float(value)) > 0}
    return within_mixes(root, patterns_of(root, counts), [column for column in counts if isinstance(column, MixColumn)])


def within_mixes(root: CoverRoot, patterns: Sequence[Pattern], mixes: Sequence[MixColumn]) -> tuple[Pattern, ...]:
    """The patterns without replicas beyond the mix of a demand that has one: patterns may hold more than it asks for."""
    shapes = root.problem.shapes
    chosen = {mix.demand for mix in mixes}
    left = Counter({shape: count for mix in mixes for shape, count in mix.shapes})
    out: list[Pattern] = []
    for pattern in patterns:
        for _ in range(pattern.count):
            kept = []
            for shape in pattern.residents:
                if shapes[shape].demand not in chosen:
                    kept.append(shape)
                elif left[shape]:
                    left[shape] -= 1
                    kept.append(shape)
            out.append(Pattern(pattern.pool, tuple(kept)))
    return merged(out)


def _kept(root: CoverRoot, reduced: Floats, start: dict[Column, int], most: int, plain: set[int]) -> set[int]:
    """The columns of the least reduced cost, and those of the incumbent; no mixes of demands that are served replica by replica."""
    columns = root.program.columns
    usable = [k for k, column in enumerate(columns) if not (isinstance(column, MixColumn) and column.demand in plain)]
    cheap = sorted(usable, key=lambda k: (float(reduced[k]), k))[:most]
    return {*cheap, *(k for k in usable if columns[k] in start)}


def _start(root: CoverRoot, dive: MixDive, patterns: Sequence[Pattern]) -> dict[Column, int]:
    """Columns of a plan with counts; adds those that are new."""
    problem, slots = root.problem, root.master.slots
    counts: Counter[Column] = Counter()
    bought: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for pattern in patterns:
        known = tuple(index for index in pattern.residents if index in root.offers.number)
        for index in known:
            bought[problem.shapes[index].demand][index] += pattern.count
        if not known:
            continue
        first = problem.shapes[known[0]]
        if takes_whole_gpus(first):
            counts[ReplicaColumn(first.demand, known[0])] += pattern.count
        elif first.mode == "mig":
            counts[PatternColumn(pattern.pool, tuple(sorted(slots.of_shape[index] for index in known)))] += pattern.count
            counts.update({ReplicaColumn(problem.shapes[index].demand, index): pattern.count * known.count(index) for index in set(known)})
        else:
            counts[GpuColumn(pattern.pool, known)] += pattern.count
    for index, pool in enumerate(problem.pools):
        if pool.billing == "node":
            counts[NodeColumn(index)] = max(min(pool.min_nodes, pool.nodes), nodes_needed(pool, blocks_used(problem, patterns, index)))
    root.program.add(counts)
    mixes = [dive.finder.mix_of(i, bought[i]) for i in range(len(problem.demands)) if not root.offers.plain[i]]
    dive.add_mixes(mixes)
    counts.update({mix: 1 for mix in mixes if root.program.place(mix) is not None})
    return dict(counts)


def _values(root: CoverRoot, start: dict[Column, int]) -> Floats:
    """A start as values of all columns of the solver."""
    values = np.zeros(root.program.solver.columns)
    for column, count in start.items():
        at = root.program.place(column)
        if at is not None:
            values[at] = count
    return values


def patterns_of(root: CoverRoot, counts: dict[Column, int]) -> tuple[Pattern, ...]:
    """Real patterns of whole columns."""
    problem, slots = root.problem, root.master.slots
    patterns: list[Pattern] = []
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for column, count in counts.items():
        if isinstance(column, GpuColumn):
            patterns.append(Pattern(column.pool, column.shapes, count))
        elif isinstance(column, ReplicaColumn):
            slot = slots.of_shape.get(column.shape)
            if slot is None:
                patterns.append(Pattern(problem.shapes[column.shape].pool, (column.shape,), count))
            else:
                waiting[slot].extend([column.shape] * count)
    for queue in waiting.values():
        queue.sort(reverse=True)
    layouts = [(column, count) for column, count in counts.items() if isinstance(column, PatternColumn)]
    for layout, count in sorted(layouts, key=lambda item: (-len(item[0].classes), item[0].pool, item[0].classes)):
        for _ in range(count):
            patterns.append(Pattern(layout.pool, tuple(sorted(waiting[slot].pop() for slot in layout.classes if waiting[slot]))))
    return merged(patterns)
