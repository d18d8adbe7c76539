"""Churn: GiB of weights that have to be loaded because nobody has them there yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from planner.problem import MIB_PER_GIB, Placed, Problem, Solution, holdings_now, load_mib, weights_mib


def churn_gib(problem: Problem, placed: Sequence[Placed]) -> float:
    """Weights that are loaded when replicas are placed like this, in GiB over all GPUs."""
    staying = Counter(problem.current) & Counter(placed)
    return weights_mib(problem, (item.shape for item in (Counter(placed) - staying).elements())) / MIB_PER_GIB


def least_churn_gib(problem: Problem, solution: Solution) -> float:
    """Weights to load before places are named, when each pattern takes the GPUs in use that spare it most, the largest saving first."""
    now = holdings_now(problem)
    wanted = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in solution.patterns})
    alone_mib = {pattern: weights_mib(problem, pattern[1]) for pattern in wanted}
    same = now & wanted
    now, wanted = now - same, wanted - same
    total_mib = sum(count * alone_mib[pattern] for pattern, count in wanted.items())
    pairs = [
        (load_mib(problem, pattern[1], here[1]) - alone_mib[pattern], here, pattern)
        for here in now
        for pattern in wanted
        if here[0] == pattern[0]
    ]
    for change_mib, here, pattern in sorted(pairs):
        count = min(now[here], wanted[pattern])
        total_mib += count * change_mib
        now[here] -= count
        wanted[pattern] -= count
    return total_mib / MIB_PER_GIB
