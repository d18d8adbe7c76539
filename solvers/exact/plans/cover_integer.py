"""The covering program in whole numbers: an integer program over patterns that nearly pay.

Where only capacity decides whether a demand is served, its cuts say so in replicas, and any mix of them may come out; the other demands
(a largest number of replicas, the loss of a node) choose one of their mixes, which are legal by themselves.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from planner.problem import Pattern, blocks_used, nodes_needed
from solvers.exact.effort import Breadth
from solvers.exact.plans.free_gpus import add_free_gpus, free_gpus
from solvers.exact.plans.mix_dive import MixDive
from solvers.exact.relaxation.cover_root import CoverRoot, Look
from solvers.highs import IntegerLimits, LinearSolver
from solvers.model.arrays import Floats
from solvers.model.columns import Column, GpuColumn, LossColumn, MixColumn, NodeColumn, PatternColumn, ReplicaColumn
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.searches.knapsack import Knapsack
from solvers.solution import merged

# a column that a plan has less often may be used so often in a better one
_FEW = 3


def enrich(root: CoverRoot, dive: MixDive, breadth: Breadth) -> Look | None:
    """Add what nearly pays at the duals of the program; returns the look at them."""
    answer = root.program.solver.solve()
    if answer is None:
        return None
    look = root.look(answer.duals, full=True)
    columns: list[Column] = list(look.columns)
    for group, seller in zip(root.master.slots.groups, root.pricing.every_seller, strict=True):
        if isinstance(seller, Knapsack) and not dive.over():
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


class WholeProgram:
    """The integer program over the columns that nearly pay and those of plans that are known; plan is the one that it begins with.

    counted tells whether it knows the cuts on numbers of GPUs and nodes: with them it comes to better plans, without to a first one sooner.
    """

    def __init__(self, root: CoverRoot, dive: MixDive, breadth: Breadth, plan: Sequence[Pattern], *, counted: bool = True) -> None:
        """Gather the columns. plan is one to begin with; its columns take part."""
        self._root, self._program = root, root.program
        self._counted = counted and root.master.goal.priority is None
        enrich(root, dive, breadth)
        self.plan = tuple(plan)
        self.start = _start(root, dive, plan)
        answer = self._program.solver.solve()
        self._plain = {i for i in self._program.mix_row if root.offers.plain[i]}
        reduced = np.zeros(len(self._program.columns)) if answer is None else self._program.of_columns(answer.reduced)
        self._kept = _kept(root, reduced, self.start, breadth.columns, self._plain)

    def solve(self, limits: IntegerLimits, free: AbstractSet[int] | None = None) -> tuple[Pattern, ...] | None:
        """The best plan found, None without one; with free only these demands may be served in another way than at the start."""
        return self._found(self._integer(free), limits)

    def _integer(self, free: AbstractSet[int] | None) -> LinearSolver:
        """The program in whole numbers, of what may take part."""
        program, columns = self._program, self._program.columns
        integer = program.solver.copied()
        for i, row in program.mix_row.items():
            integer.bound_row(row, *((0.0, math.inf) if i in self._plain else (1.0, 1.0)))
        gone = [
            k
            for k, column in enumerate(columns)
            if not isinstance(column, NodeColumn) and not (k in self._kept and self._may(column, free))
        ]
        # what does not exist has no place among whole numbers
        none = [*range(program.at(0)), *(program.at(k) for k in gone)]
        integer.bound_columns(none, [0.0] * len(none), [0.0] * len(none))
        if self.plan:
            self._narrow(integer, set(gone))
        if free is not None:
            self._fix(integer, free)
        return integer

    def _found(self, integer: LinearSolver, limits: IntegerLimits) -> tuple[Pattern, ...] | None:
        program, columns = self._program, self._program.columns
        whole = [program.at(k) for k, column in enumerate(columns) if not isinstance(column, LossColumn)]
        start = _values(self._root, self.start)
        if self._counted:
            whole += add_free_gpus(self._root, integer)
            start = np.append(start, free_gpus(self._root, self.start))
        found = integer.solve_integer(whole, limits, start)
        if found.columns is None:
            return None
        values = program.of_columns(found.columns[: program.solver.columns]).tolist()
        counts = {column: round(value) for column, value in zip(columns, values, strict=True) if round(value) > 0}
        return within_mixes(self._root, patterns_of(self._root, counts), [each for each in counts if isinstance(each, MixColumn)])

    def _narrow(self, integer: LinearSolver, gone: AbstractSet[int]) -> None:
        """Not many more of any column than at the start.

        Where there is no such limit, presolve drops columns of the start for others that are no worse: the solver then believes in a start
        that is cheaper than any solution, and throws away what it finds.
        """
        columns = self._program.columns
        free = [k for k, column in enumerate(columns) if k not in gone and not isinstance(column, NodeColumn | LossColumn)]
        most = [max(_FEW, self.start.get(columns[k], 0) + 1) for k in free]
        integer.bound_columns([self._program.at(k) for k in free], [0.0] * len(free), most)

    def begin_with(self, dive: MixDive, plan: Sequence[Pattern]) -> None:
        """Another plan to begin with."""
        self.plan = tuple(plan)
        self.start = _start(self._root, dive, plan)
        self._kept |= {k for k, column in enumerate(self._program.columns) if column in self.start}

    def _demands(self, column: Column) -> set[int]:
        if isinstance(column, MixColumn | LossColumn | ReplicaColumn):
            return {column.demand}
        return {self._root.problem.shapes[shape].demand for shape in column.shapes} if isinstance(column, GpuColumn) else set()

    def _may(self, column: Column, free: AbstractSet[int] | None) -> bool:
        """Whether a column takes part: without free all do, else those of free demands alone, and what is there at the start."""
        return free is None or column in self.start or self._demands(column) <= free

    def _fix(self, integer: LinearSolver, free: AbstractSet[int]) -> None:
        """What serves other demands stays as it is at the start."""
        kept = [column for column in self.start if (demands := self._demands(column)) and not demands & free]
        at = [place for column in kept if (place := self._program.place(column)) is not None]
        count = [float(self.start[column]) for column in kept]
        integer.bound_columns(at, count, count)


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
