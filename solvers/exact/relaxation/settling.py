"""A bound from whole numbers of GPUs: those that are cheapest by all cuts so far are tried in the relaxation, which answers with a cut.

Where the relaxation cannot live with so few GPUs of each pool, its prices say what more would be worth: one more cut on the numbers of GPUs
and nodes (Benders). Where it can, no bound of this kind is higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.relaxation.node_numbers import nodes_of

# rounds of columns for one try; the last one looks at everything and gives the cut
_ROUNDS = 6


def settle(root: CoverRoot, tries: int, enough: Callable[[float], bool]) -> None:
    """Raise root.counts.bound, until enough says so, the tries are used up, or the relaxation can live with the whole numbers found."""
    seen: set[tuple[int, ...]] = set()
    for _ in range(tries):
        bound = root.counts.solve()
        tried = (*root.counts.gpus, *root.counts.nodes)
        if math.isinf(bound) or enough(bound) or tried in seen:
            break
        seen.add(tried)
        _limit(root, root.counts.gpus, root.counts.nodes)
        if not _cut(root, bound):
            break
    _free(root)


def _cut(root: CoverRoot, bound: float) -> bool:
    """One cut at the duals of the limited relaxation; False where it costs no more than the bound."""
    for turn in range(_ROUNDS):
        answer = root.program.solver.solve()
        if answer is None or answer.value <= bound * (1.0 + 1e-7) + 1e-9:
            return False
        last = turn == _ROUNDS - 1
        look = root.look(answer.duals, full=last)
        fresh = root.program.add(look.columns)
        if last or not fresh:
            root.bound_at(look if last else root.look(answer.duals, full=True))
            break
    return True


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
