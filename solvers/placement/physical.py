"""From counts to names: which node, GPUs and MIG start slots hold each pattern, keeping what runs where it can.

Aligned blocks are placed from the largest to the smallest. Inside a size any choice of aligned blocks leaves the same number
of smaller ones, so the counts that a Solution promises always fit. Per size, groups of identical patterns are matched to
groups of places with identical residents by min-cost flow: a match gains the weights of engines that stay, which nobody
loads then, and costs those of smaller patterns' replicas that it would drive away; among equals the memory of those that
are just the same decides. Pools billed by node use as few nodes as they are billed for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from planner.problem import Pattern, Placed, Problem, Solution, Spot, nodes_used, staying, weights_mib
from solvers.placement.matching import match_groups
from solvers.placement.mig_starts import start_slots
from solvers.placement.spread import Spread, to_spread

# how much more a MiB of weights counts than one of memory: more than there is memory
_WEIGHTS_FIRST = 1_000

_Kind: TypeAlias = tuple[int, str, int, str | None]


def place(problem: Problem, solution: Solution) -> tuple[Placed, ...]:
    """Name node, GPUs and start slots for every replica; deterministic and sorted.

    A solution whose patterns all run already keeps its placement exactly. Raises ValueError for a solution that breaks the
    rules of violations().
    """
    running = [_running(problem, pool) for pool in range(len(problem.pools))]
    spots: dict[tuple[int, Spot], tuple[int, ...]] = {}
    nodes: list[list[int]] = []
    for pool, now in enumerate(running):
        wanted = [pattern for pattern in solution.patterns if pattern.pool == pool]
        nodes.append(_nodes(problem, pool, wanted, now))
        spots |= {(pool, spot): residents for spot, residents in _spots(problem, pool, wanted, now, nodes[pool]).items()}
    spots = _spread(problem, spots, nodes)
    placed: list[Placed] = []
    for (pool, spot), residents in spots.items():
        placed.extend(_replicas(problem, spot, residents, running[pool].get(spot, ())) if residents else ())
    return tuple(sorted(placed, key=lambda item: (problem.shapes[item.shape].pool, item.node, item.gpus, item.mig_start or 0, item.shape)))


def _running(problem: Problem, pool: int) -> dict[Spot, tuple[Placed, ...]]:
    """What runs in a pool now, per block."""
    grouped: defaultdict[Spot, list[Placed]] = defaultdict(list)
    for item in problem.current:
        if problem.shapes[item.shape].pool == pool and item.node < problem.pools[pool].nodes:
            grouped[item.node, item.gpus].append(item)
    return {spot: tuple(sorted(items, key=lambda item: item.shape)) for spot, items in grouped.items()}


def _spots(
    problem: Problem, pool: int, wanted: Sequence[Pattern], running: Mapping[Spot, Sequence[Placed]], nodes: Sequence[int]
) -> dict[Spot, tuple[int, ...]]:
    """Residents per block, largest blocks first."""
    by_size: defaultdict[int, list[Pattern]] = defaultdict(list)
    for pattern in wanted:
        by_size[max(problem.shapes[index].gpus for index in pattern.residents)].append(pattern)
    taken: set[tuple[int, int]] = set()
    spots: dict[Spot, tuple[int, ...]] = {}
    for size in sorted(by_size, reverse=True):
        free = [spot for spot in _blocks(nodes, problem.pools[pool].gpus_per_node, size) if not _overlaps(spot, taken)]
        smaller = {index for other, patterns in by_size.items() if other < size for pattern in patterns for index in pattern.residents}
        matched = _match(problem, by_size[size], free, running, smaller)
        spots.update(matched)
        taken.update((node, gpu) for node, gpus in matched for gpu in gpus)
    return spots


def _spread(
    problem: Problem, spots: dict[tuple[int, Spot], tuple[int, ...]], nodes: Sequence[Sequence[int]]
) -> dict[tuple[int, Spot], tuple[int, ...]]:
    """The spots with demands to spread over nodes exchanged between them, with free places too.

    Those of one size of block at a time, the largest first: what is left of a large free place is free for smaller ones then.
    """
    concerned = {
        (pool, len(gpus))
        for (pool, (_, gpus)), residents in spots.items()
        if any(to_spread(problem.demands[problem.shapes[index].demand]) for index in residents)
    }
    for size in sorted({size for _, size in concerned}, reverse=True):
        for pool in sorted(pool for pool, other in concerned if other == size):
            spots |= {(pool, spot): () for spot in _free(problem, pool, nodes[pool], size, [key[1] for key in spots if key[0] == pool])}
        Spread(problem, spots).run()
        spots = {key: residents for key, residents in spots.items() if residents}
    return spots


def _free(problem: Problem, pool: int, nodes: Sequence[int], size: int, spots: Sequence[Spot]) -> list[Spot]:
    """Blocks of a size that are empty."""
    taken = {(node, gpu) for node, gpus in spots for gpu in gpus}
    return [spot for spot in _blocks(nodes, problem.pools[pool].gpus_per_node, size) if not _overlaps(spot, taken)]


def _nodes(problem: Problem, pool: int, wanted: Sequence[Pattern], running: Mapping[Spot, Sequence[Placed]]) -> list[int]:
    """The nodes to use: all of them, or where nodes are billed whole those that are paid, which run most of what stays."""
    chosen = problem.pools[pool]
    if chosen.billing != "node":
        return list(range(chosen.nodes))
    stays = {index for pattern in wanted for index in pattern.residents}
    kept: Counter[int] = Counter()
    for (node, _), items in running.items():
        kept[node] += sum(_worth(problem, item.shape) for item in items if item.shape in stays)
    needed = min(chosen.nodes, max(nodes_used(problem, wanted, pool), chosen.min_nodes))
    return sorted(sorted(range(chosen.nodes), key=lambda node: (-kept[node], node))[:needed])


def _blocks(nodes: Sequence[int], gpus_per_node: int, size: int) -> list[Spot]:
    starts = range(0, gpus_per_node - size + 1, size)
    return [(node, tuple(range(start, start + size))) for node in nodes for start in starts]


def _overlaps(spot: Spot, taken: set[tuple[int, int]]) -> bool:
    return any((spot[0], gpu) in taken for gpu in spot[1])


def _worth(problem: Problem, index: int) -> int:
    """What is gained when a replica stays: weights that nobody loads, and among equals the memory of its engine."""
    return _loads(problem, index) + max(1, problem.shapes[index].memory_mib) * problem.shapes[index].gpus


def _loads(problem: Problem, index: int) -> int:
    return _WEIGHTS_FIRST * weights_mib(problem, [index])


def _match(
    problem: Problem, patterns: Sequence[Pattern], free: Sequence[Spot], running: Mapping[Spot, Sequence[Placed]], smaller: set[int]
) -> dict[Spot, tuple[int, ...]]:
    """Which pattern goes to which of the free blocks of one size."""
    inside = _inside(free, running)
    groups: defaultdict[tuple[tuple[int, ...], int], list[Spot]] = defaultdict(list)
    for spot in free:
        here = tuple(item.shape for item in running.get(spot, ()))
        driven = sum(_worth(problem, item.shape) for item in inside[spot] if item.shape in smaller)
        groups[here, driven].append(spot)
    # a block that costs nobody anything comes first, then in the order of the machine
    rooms = sorted(groups, key=lambda key: (key[1], groups[key][0]))
    residents = sorted(patterns, key=lambda pattern: pattern.residents)
    gains = _gains(problem, residents, [here for here, _ in rooms])
    counts = [pattern.count for pattern in residents]
    pairs = match_groups(counts, [len(groups[room]) for room in rooms], gains, [driven for _, driven in rooms])
    matched: dict[Spot, tuple[int, ...]] = {}
    for supply, room, amount in pairs:
        for _ in range(amount):
            matched[groups[rooms[room]].pop(0)] = residents[supply].residents
    return matched


def _inside(free: Sequence[Spot], running: Mapping[Spot, Sequence[Placed]]) -> dict[Spot, list[Placed]]:
    """What runs on smaller blocks within each of the free ones."""
    size = len(free[0][1]) if free else 1
    inside: dict[Spot, list[Placed]] = {spot: [] for spot in free}
    for (node, gpus), items in running.items():
        if gpus and len(gpus) < size:
            start = gpus[0] - gpus[0] % size
            inside.get((node, tuple(range(start, start + size))), []).extend(items)
    return inside


def _gains(problem: Problem, patterns: Sequence[Pattern], rooms: Sequence[tuple[int, ...]]) -> dict[tuple[int, int], int]:
    """What is gained, for each pair of pattern and room that has something in common."""
    rooms_with: defaultdict[_Kind, set[int]] = defaultdict(set)
    for room, here in enumerate(rooms):
        for index in here:
            rooms_with[_kind(problem, index)].add(room)
    gains: dict[tuple[int, int], int] = {}
    for supply, pattern in enumerate(patterns):
        for room in set().union(*(rooms_with[_kind(problem, index)] for index in set(pattern.residents))):
            gains[supply, room] = _gain(problem, pattern.residents, rooms[room])
    return gains


def _gain(problem: Problem, wanted: Sequence[int], here: Sequence[int]) -> int:
    """All of the worth of residents that stay, and what is not memory of those in whose place an engine runs that may count as them."""
    gain = 0
    for place, now in staying(problem, wanted, here).items():
        same = wanted[place] == here[now]
        gain += _worth(problem, wanted[place]) if same else _loads(problem, wanted[place])
    return gain


def _kind(problem: Problem, index: int) -> _Kind:
    """What engines have in common that may differ only in what is promised for their neighbours."""
    shape = problem.shapes[index]
    return shape.demand, shape.mode, shape.gpus, shape.mig_profile


def _replicas(problem: Problem, spot: Spot, residents: tuple[int, ...], running: Sequence[Placed]) -> list[Placed]:
    node, gpus = spot
    if problem.shapes[residents[0]].mode != "mig":
        return [Placed(index, node, gpus) for index in residents]
    now: defaultdict[int, list[int]] = defaultdict(list)
    for item in running:
        if item.mig_start is not None:
            now[item.shape].append(item.mig_start)
    return [Placed(index, node, gpus, start) for index, start in zip(residents, start_slots(problem, residents, now), strict=True)]
