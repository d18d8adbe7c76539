"""Better plans near a known one: some demands at a time are served anew, the others as they are.

Demands that share GPUs or pools can give each other room, so most neighbourhoods are a demand and those nearest to it; few of them are
decided quickly, many find more. A plan that costs the same is taken too: the next neighbourhood then begins elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from planner.problem import Pattern, Problem
from solvers.exact.effort import rank
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.mix_dive import MixDive
from solvers.highs import IntegerLimits

# demands in one neighbourhood: more of them after so many turns that found nothing, fewer after one that did
_SIZES, _TURNS = (5, 9, 14, 20, 27, 35), 4
# how near two demands are: for each GPU that both use, and for each GPU in the same pool up to so many; and what chance adds,
# in one turn and in the other
_SAME_GPU, _SAME_POOL_GPUS, _CHANCES = 3, 3, (4.0, 100.0)


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """How many, nodes of branch and bound, with a time limit seconds for each.

    seed leads two searches to different places; others tells what another search has found since the last time.
    """

    turns: int = 40
    nodes: int = 200
    turn_s: float = 0.5
    seed: int = 0
    time_left_s: Callable[[], float | None] = lambda: None
    stop: Callable[[], bool] | None = None
    others: Callable[[], Iterable[tuple[Pattern, ...]]] = tuple


def neighbourhoods(
    program: WholeProgram, dive: MixDive, complete: Callable[[Sequence[Pattern]], tuple[Pattern, ...]], limits: Neighbourhoods
) -> Iterator[tuple[Pattern, ...]]:
    """Better and better plans; program knows the one to begin with, complete makes a plan whole."""
    chance = Random(limits.seed)  # noqa: S311 -- a search, and the same one every time
    problem = dive.root.problem
    here = complete(program.plan)
    value = rank(problem, here)
    level, idle = 0, 0
    for turn in range(limits.turns):
        left_s = limits.time_left_s()
        if left_s is not None and left_s <= 0.0:
            return
        for plan in limits.others():
            reached = rank(problem, plan)
            if reached < value:
                yield plan
                here, value = plan, reached
                program.begin_with(dive, plan)
        if idle >= _TURNS:
            level, idle = (level + 1) % len(_SIZES), 0
        free = near(problem, here, _SIZES[level], chance, _CHANCES[turn % 2])
        idle += 1
        turn_s = None if left_s is None else min(left_s, limits.turn_s)
        found = program.solve(IntegerLimits(limits.nodes, gap_fraction=1e-4, time_limit_s=turn_s, stop=limits.stop), free)
        plan = here if found is None else complete(found)
        reached = rank(problem, plan)
        if reached < value:
            level, idle = max(0, level - 1), 0
            yield plan
        elif len(free) == len(problem.demands):
            # the same question once more has the same answer
            return
        if reached <= value and plan is not here:
            here, value = plan, reached
            program.begin_with(dive, plan)


def near(problem: Problem, plan: Sequence[Pattern], count: int, chance: Random, most: float) -> set[int]:
    """A demand and those nearest to it in a plan, so many in all; chance adds up to most to how near they are."""
    everyone = range(len(problem.demands))
    if count >= len(everyone):
        return set(everyone)
    first = chance.choice(everyone)
    pools: list[Counter[int]] = [Counter() for _ in everyone]
    beside: Counter[int] = Counter()
    for pattern in plan:
        here = {problem.shapes[index].demand for index in pattern.residents}
        for demand in here:
            pools[demand][pattern.pool] += pattern.count
        if first in here:
            beside.update(dict.fromkeys(here, _SAME_GPU * pattern.count))
    own = {pool: min(count, _SAME_POOL_GPUS) for pool, count in pools[first].items()}

    def nearness(demand: int) -> float:
        same = sum(min(count, pools[demand][pool]) for pool, count in own.items())
        return beside[demand] + same + most * chance.random()

    others = sorted(((nearness(demand), demand) for demand in everyone if demand != first), reverse=True)
    return {first, *(demand for _, demand in others[: count - 1])}
