"""Replicas added beside those that run, which stay where they are: room on GPUs in use first, then free ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from planner.problem import Pattern, Problem, Spot, pattern_violations


@dataclass(frozen=True, slots=True)
class Addition:
    """So many replicas of a shape: `joined` of them on GPUs in use, the others on free ones, for so much more an hour."""

    shape: int
    replicas: int
    joined: int
    cost_microusd_per_h: int


def spots_now(problem: Problem) -> Counter[Spot]:
    """What runs now (problem.current), by pool and residents."""
    here: dict[tuple[int, int, tuple[int, ...]], list[int]] = {}
    for item in problem.current:
        here.setdefault((problem.shapes[item.shape].pool, item.node, item.gpus), []).append(item.shape)
    return Counter((pool, tuple(sorted(residents))) for (pool, _, _), residents in here.items())


def cheapest_addition(problem: Problem, demand: int, spots: Mapping[Spot, int]) -> Addition | None:
    """The cheapest way to give a demand what it needs beyond its own replicas among the spots; None without room for any."""
    need = _need(problem, demand, spots)
    shapes = [index for index, shape in enumerate(problem.shapes) if shape.demand == demand]
    found = [addition for index in shapes if (addition := _addition(problem, index, spots, need)) is not None]
    return min(found, key=lambda item: (item.cost_microusd_per_h, item.replicas, problem.shapes[item.shape].name), default=None)


def patterns_beside(problem: Problem, spots: Mapping[Spot, int]) -> tuple[Pattern, ...] | None:
    """The spots with the cheapest addition for every demand that lacks some, highest priority first; None when one finds no room."""
    after = Counter(dict(spots))
    for demand in sorted(range(len(problem.demands)), key=lambda i: (-problem.demands[i].priority, i)):
        need = _need(problem, demand, after)
        if not (need.microrps or need.replicas):
            continue
        addition = cheapest_addition(problem, demand, after)
        if addition is None:
            return None
        _add(problem, addition, after)
    return tuple(Pattern(pool, residents, count) for (pool, residents), count in sorted(after.items()) if count)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a demand lacks, and how many replicas it may still have."""

    microrps: int
    replicas: int
    most: int


def _need(problem: Problem, demand: int, spots: Mapping[Spot, int]) -> _Need:
    shapes = problem.shapes
    own = [(shapes[i].capacity_microrps, count) for (_, here), count in spots.items() for i in here if count and shapes[i].demand == demand]
    asked, replicas = problem.demands[demand], sum(count for _, count in own)
    # the largest may be on the node that is lost
    spare_microrps = max((capacity for capacity, _ in own), default=0) if asked.tolerate_nodes else 0
    carried_microrps = sum(capacity * count for capacity, count in own) - spare_microrps
    least = max(asked.min_replicas, 1 + asked.tolerate_nodes if asked.peak_microrps and asked.tolerate_nodes else 0)
    return _Need(max(0, asked.peak_microrps - carried_microrps), max(0, least - replicas), asked.max_replicas - replicas)


def _addition(problem: Problem, index: int, spots: Mapping[Spot, int], need: _Need) -> Addition | None:
    """So many replicas of a shape as are needed; None without room for them."""
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    replicas = max(-(-need.microrps // max(1, shape.capacity_microrps)), need.replicas)
    if replicas > need.most:
        return None
    room = sum(count for spot, count in spots.items() if _joins(problem, index, spot)) if replicas else 0
    joined = min(replicas, room)
    fresh = (replicas - joined) * shape.gpus
    used = sum(max(problem.shapes[i].gpus for i in here) * count for (pool_of, here), count in spots.items() if pool_of == shape.pool)
    if fresh > pool.gpus - used or (fresh and not _legal(problem, shape.pool, (index,))):
        return None
    paid = fresh
    if pool.billing == "node":
        nodes_before, nodes_after = (max(pool.min_nodes, -(-gpus // pool.gpus_per_node)) for gpus in (used, used + fresh))
        paid = (nodes_after - nodes_before) * pool.gpus_per_node
    return Addition(index, replicas, joined, paid * pool.price_microusd_per_h)


def _add(problem: Problem, addition: Addition, spots: Counter[Spot]) -> None:
    """Let replicas join in the order of the spots; the others open free GPUs."""
    left = addition.joined
    for spot in sorted(spot for spot in spots if spots[spot] and _joins(problem, addition.shape, spot)):
        pool, residents = spot
        count = min(left, spots[spot])
        spots[spot] -= count
        spots[pool, tuple(sorted((*residents, addition.shape)))] += count
        left -= count
    spots[problem.shapes[addition.shape].pool, (addition.shape,)] += addition.replicas - addition.joined


def _joins(problem: Problem, index: int, spot: Spot) -> bool:
    pool, residents = spot
    return problem.shapes[index].pool == pool and _legal(problem, pool, (*residents, index))


def _legal(problem: Problem, pool: int, residents: tuple[int, ...]) -> bool:
    return next(pattern_violations(problem, Pattern(pool, tuple(sorted(residents)))), None) is None
