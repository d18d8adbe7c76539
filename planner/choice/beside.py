"""Replicas added beside those that run, which stay where they are: room on GPUs in use first, then free ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from planner.problem import (
    Holding,
    Pattern,
    Problem,
    apart_counts,
    blocks_used,
    cost,
    is_legal,
    machines,
    most_apart,
    nodes_needed,
    pool_cost,
)


@dataclass(frozen=True, slots=True)
class Addition:
    """So many replicas of a shape: `joined` of them on GPUs in use, the others on free ones, for so much more an hour.

    patterns has all GPUs in use with them.
    """

    shape: int
    replicas: int
    joined: int
    cost_microusd_per_h: int
    patterns: tuple[Pattern, ...]


def cheapest_addition(problem: Problem, demand: int, holdings: Mapping[Holding, int]) -> Addition | None:
    """The cheapest way to give a demand what it needs beyond its own replicas among the holdings; None without room for any."""
    need = _need(problem, demand, holdings)
    shapes = [index for index, shape in enumerate(problem.shapes) if shape.demand == demand]
    found = [addition for index in shapes if (addition := _addition(problem, index, holdings, need)) is not None]
    return min(found, key=lambda item: (item.cost_microusd_per_h, item.replicas, problem.shapes[item.shape].name), default=None)


def cheapest_change(problem: Problem, demand: int, holdings: Mapping[Holding, int]) -> tuple[Addition, int] | None:
    """As cheapest_addition, or new replicas in place of all that the demand has if that costs less; with the number of those replaced."""
    added = cheapest_addition(problem, demand, holdings)
    others: Counter[Holding] = Counter()
    for (pool, residents), count in holdings.items():
        others[pool, tuple(i for i in residents if problem.shapes[i].demand != demand)] += count
    own = sum(len(residents) * count for (_, residents), count in holdings.items()) - sum(
        len(here) * count for (_, here), count in others.items()
    )
    kept = Counter({holding: count for holding, count in others.items() if holding[1]})
    anew = cheapest_addition(problem, demand, kept) if own else None
    if anew is None:
        return None if added is None else (added, 0)
    before_microusd_per_h = cost(problem, patterns_of(holdings))
    anew = replace(anew, cost_microusd_per_h=cost(problem, anew.patterns) - before_microusd_per_h)
    return (anew, own) if added is None or anew.cost_microusd_per_h < added.cost_microusd_per_h else (added, 0)


def patterns_beside(problem: Problem, holdings: Mapping[Holding, int]) -> tuple[Pattern, ...] | None:
    """The holdings with the cheapest addition for every demand that lacks some, highest priority first; None when one finds no room."""
    after = Counter(dict(holdings))
    for demand in sorted(range(len(problem.demands)), key=lambda i: (-problem.demands[i].priority, i)):
        need = _need(problem, demand, after)
        if not (need.microrps or need.replicas):
            continue
        addition = cheapest_addition(problem, demand, after)
        if addition is None:
            return None
        after = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in addition.patterns})
    return patterns_of(after)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a demand lacks, and how many replicas it may still have."""

    microrps: int
    replicas: int
    most: int


def _need(problem: Problem, demand: int, holdings: Mapping[Holding, int]) -> _Need:
    shapes = problem.shapes
    own = [
        (shapes[i].capacity_microrps, count) for (_, here), count in holdings.items() for i in here if count and shapes[i].demand == demand
    ]
    asked, replicas = problem.demands[demand], sum(count for _, count in own)
    # the largest may be on the node that is lost
    spare_microrps = max((capacity for capacity, _ in own), default=0) if asked.tolerate_nodes else 0
    carried_microrps = sum(capacity * count for capacity, count in own) - spare_microrps
    least = max(asked.min_replicas, 1 + asked.tolerate_nodes if asked.peak_microrps and asked.tolerate_nodes else 0)
    most = min(asked.max_replicas, most_apart(problem, demand)) if asked.spread_nodes else asked.max_replicas
    return _Need(max(0, asked.peak_microrps - carried_microrps), max(0, least - replicas), most - replicas)


def _addition(problem: Problem, index: int, holdings: Mapping[Holding, int], need: _Need) -> Addition | None:
    """So many replicas of a shape as are needed; None without room for them."""
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    replicas = max(-(-need.microrps // max(1, shape.capacity_microrps)), need.replicas)
    if replicas > need.most:
        return None
    after, joined = _joined(problem, index, holdings, replicas)
    if replicas > joined:
        each = _together(problem, index, replicas - joined)
        if not each:
            return None
        full, rest = divmod(replicas - joined, each)
        after[shape.pool, (index,) * each] += full
        after[shape.pool, (index,) * rest] += bool(rest)
    if replicas > joined and nodes_needed(pool, blocks_used(problem, patterns_of(after), shape.pool)) > pool.nodes:
        return None
    if apart_counts(problem, patterns_of(after), shape.pool).get(shape.demand, 0) > machines(problem, [shape.pool]):
        return None
    before_microusd_per_h, after_microusd_per_h = (pool_cost(problem, patterns_of(where), shape.pool) for where in (holdings, after))
    return Addition(index, replicas, joined, after_microusd_per_h - before_microusd_per_h, patterns_of(after))


def _joined(problem: Problem, index: int, holdings: Mapping[Holding, int], replicas: int) -> tuple[Counter[Holding], int]:
    """The holdings with up to so many replicas of a shape on GPUs in use, and how many found room: a round over all GPUs, then another."""
    after, left = Counter(dict(holdings)), replicas
    while left:
        before = left
        for holding in sorted(holding for holding in after if after[holding] and _joins(problem, index, holding)):
            pool, residents = holding
            count = min(left, after[holding])
            after[holding] -= count
            after[pool, tuple(sorted((*residents, index)))] += count
            left -= count
        # elsewhere than in MIG instances no model sits twice on one GPU
        if left == before or problem.shapes[index].mode != "mig":
            break
    return after, replicas - left


def _together(problem: Problem, index: int, most: int) -> int:
    """How many replicas of a shape one free GPU holds, at most so many: several in MIG instances only; 0 where it may not run."""
    if problem.demands[problem.shapes[index].demand].tolerate_nodes:
        # side by side they would be lost together
        most = min(1, most)
    pool = problem.shapes[index].pool
    return next((count - 1 for count in range(1, most + 1) if not _legal(problem, pool, (index,) * count)), most)


def patterns_of(holdings: Mapping[Holding, int]) -> tuple[Pattern, ...]:
    """Holdings as patterns, in a fixed order."""
    return tuple(Pattern(pool, residents, count) for (pool, residents), count in sorted(holdings.items()) if count)


def _joins(problem: Problem, index: int, holding: Holding) -> bool:
    pool, residents = holding
    return problem.shapes[index].pool == pool and _legal(problem, pool, (*residents, index))


def _legal(problem: Problem, pool: int, residents: tuple[int, ...]) -> bool:
    return is_legal(problem, Pattern(pool, tuple(sorted(residents))))
