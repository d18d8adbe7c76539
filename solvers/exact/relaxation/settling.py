"""A bound from whole numbers of nodes and GPUs: those that are cheapest by all cuts so far are tried in the relaxation, which answers.

Where the relaxation cannot live with so few GPUs of each pool, its prices say what more would be worth: one more cut on the numbers of GPUs
and nodes (Benders). Where it can, precise cuts of the demands say why no plan can. Numbers of nodes come first: each pool that is billed by
node has only a few that matter, and with them fixed both kinds of cuts are the sharpest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from solvers.exact.relaxation.cover_root import CoverRoot, Look
from solvers.exact.relaxation.node_numbers import NodeNumbers, nodes_of
from solvers.highs import LinearAnswer

# rounds of columns for one answer; the last one looks at everything and gives the cut
_ROUNDS = 4
# how often one choice of whole numbers is tried: until then columns that were missing, or more precise cuts, may say more about it
_MOST_TRIES = 4


# Asked with the bound so far (scaled like the master) whether it will do.
EnoughBound = Callable[[float], bool]


@dataclass(slots=True)
class Settling:
    """Raises root.counts.bound; enough is asked again and again whether it will do.

    Each choice of nodes gets up to precise_rounds of precise cuts; with 0 there are none at all. What has been tried is known: rounds of
    precise cuts per choice of nodes, and tries of whole numbers of GPUs and nodes.
    """

    root: CoverRoot
    precise_rounds: int
    _rounds: Counter[tuple[int, ...]] = field(default_factory=Counter)
    _tried: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def every_way(self, enough: EnoughBound) -> None:
        """One cut for each choice of nodes near the relaxed one."""
        nodes, answer = NodeNumbers(self.root.program), self.root.program.solver.solve()
        ways = [] if answer is None else nodes.ways(answer)
        for way in ways if len(ways) > 1 else []:
            if enough(self.root.counts.bound):
                break
            nodes.fix(way)
            self._cut()
        nodes.free()

    def run(self, tries: int, enough: EnoughBound) -> None:
        """One choice of whole numbers after the other, until the tries are used up or nothing is learnt."""
        for _ in range(tries):
            if not self._step(enough):
                break

    def _step(self, enough: EnoughBound) -> bool:
        """Learn more about the whole numbers that are cheapest by all cuts so far; False at the end."""
        counts = self.root.counts
        bound = counts.solve()
        # without whole numbers, branch and bound has ended with a bound alone
        if math.isinf(bound) or not counts.gpus or enough(bound):
            return False
        way = tuple(counts.nodes)
        if self._rounds[way] < self.precise_rounds:
            nodes = NodeNumbers(self.root.program)
            nodes.fix({pool: counts.nodes[pool] for pool in nodes.columns()})
            # where no cut is violated, another round would find none either
            self._rounds[way] = self._rounds[way] + 1 if self._sharpen(enough) else self.precise_rounds
            nodes.free()
            return True
        numbers = (*counts.gpus, *counts.nodes)
        self._tried[numbers] += 1
        if self._tried[numbers] > _MOST_TRIES:
            return False
        _limit(self.root, counts.gpus, counts.nodes)
        learnt = self._cut(bound) is not None or (self.precise_rounds > 0 and self._sharpen(enough))
        _free(self.root)
        return learnt

    def _cut(self, bound: float = -math.inf) -> tuple[LinearAnswer, Look] | None:
        """One cut on the numbers at the duals of the relaxation as it is limited; None where that costs no more than a bound."""
        program = self.root.program
        for turn in range(_ROUNDS):
            answer = program.solver.solve()
            if answer is None or answer.value <= bound * (1.0 + 1e-7) + 1e-9:
                return None
            if turn < _ROUNDS - 1 and program.add(self.root.look(answer.duals, full=False).columns):
                continue
            look = self.root.look(answer.duals, full=True)
            program.add(look.columns)
            self.root.bound_at(look)
            return answer, look
        return None

    def _sharpen(self, enough: EnoughBound) -> bool:
        """Precise cuts that the relaxation as it is limited violates, and the cut on the numbers with them; False without any."""
        found = self._cut()
        if found is None:
            return False
        cuts = self.root.precise_cuts(*found, lambda: enough(self.root.counts.bound))
        self.root.program.add_cuts(cuts)
        if cuts:
            self._cut()
        return bool(cuts)


def _limit(root: CoverRoot, gpus: Sequence[int], nodes: Sequence[int]) -> None:
    """So many GPUs of each pool and no more, so many nodes exactly."""
    where = nodes_of(root.program.columns)
    for pool, count in enumerate(gpus):
        row = root.program.capacity_row(pool, 1)
        if pool in where:
            at = root.program.at(where[pool])
            root.program.solver.bound_columns([at], [nodes[pool]], [nodes[pool]])
            root.program.solver.bound_row(row, -math.inf, count - root.master.row_room(pool, 1) * nodes[pool])
        else:
            root.program.solver.bound_row(row, -math.inf, count)


def _free(root: CoverRoot) -> None:
    """As many GPUs and nodes as the pools have."""
    where = nodes_of(root.program.columns)
    for index, pool in enumerate(root.problem.pools):
        row = root.program.capacity_row(index, 1)
        if index in where:
            root.program.solver.bound_columns([root.program.at(where[index])], [min(pool.min_nodes, pool.nodes)], [pool.nodes])
            root.program.solver.bound_row(row, -math.inf, 0.0)
        else:
            root.program.solver.bound_row(row, -math.inf, root.master.row_room(index, 1) * pool.nodes)
