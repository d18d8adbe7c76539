"""What a set of patterns costs and leaves unserved, on any Problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from planner.problem.apart import apart_counts
from planner.problem.model import Demand, Holding, Pattern, Pool, Problem, Shape, Solution


def priorities(problem: Problem) -> tuple[int, ...]:
    """The distinct priorities of the demands, highest first."""
    return tuple(sorted({demand.priority for demand in problem.demands}, reverse=True))


def unserved_by_priority(problem: Problem, unserved_microrps: Sequence[int]) -> tuple[int, ...]:
    """Sum of unserved demand per priority, highest first: the first goal, compared lexicographically."""
    totals: Counter[int] = Counter()
    for demand, missing_microrps in zip(problem.demands, unserved_microrps, strict=True):
        totals[demand.priority] += missing_microrps
    return tuple(totals[priority] for priority in priorities(problem))


def objective(problem: Problem, solution: Solution) -> tuple[int, ...]:
    """Lexicographic value of a solution: unserved per priority (highest first), then cost. Smaller is better."""
    return (*unserved_by_priority(problem, solution.unserved_microrps), solution.cost_microusd_per_h)


def shortfall(demand: Demand, capacity_microrps: int, replicas: int, largest_microrps: int) -> int:
    """Unserved micro-requests/s of one demand: missing capacity, or the share of missing minimum replicas if larger.

    capacity_microrps is the sum over its replicas and largest_microrps the largest of them, which a demand that tolerates the
    loss of a node cannot count on. A missing minimum replica counts at least one micro-request/s, so that a demand that is
    idle now still gets it.
    """
    missing = max(0, demand.min_replicas - replicas)
    by_count_microrps = -(-max(1, demand.peak_microrps) * missing // demand.min_replicas) if missing else 0
    lost_microrps = largest_microrps if demand.tolerate_nodes else 0
    return max(0, demand.peak_microrps - (capacity_microrps - lost_microrps), by_count_microrps)


def active_by_window(shapes: Sequence[Shape]) -> tuple[int, ...]:
    """Sum of active_permille in each window of shapes on one GPU; those with one number count the same in all windows."""
    every = [shape.active_permille for shape in shapes]
    windows = max(map(len, every), default=1)
    if windows > 1:
        every = [permille if len(permille) == windows else permille * windows for permille in every]
    return tuple(map(sum, zip(*every, strict=True)))


def unserved(problem: Problem, patterns: Sequence[Pattern]) -> tuple[int, ...]:
    """Unserved micro-requests/s per demand when these patterns run."""
    capacity_microrps: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    largest_microrps: Counter[int] = Counter()
    for pattern in patterns:
        for index in pattern.residents:
            shape = problem.shapes[index]
            capacity_microrps[shape.demand] += shape.capacity_microrps * pattern.count
            replicas[shape.demand] += pattern.count
            largest_microrps[shape.demand] = max(largest_microrps[shape.demand], shape.capacity_microrps)
    return tuple(shortfall(demand, capacity_microrps[i], replicas[i], largest_microrps[i]) for i, demand in enumerate(problem.demands))


def nodes_needed(pool: Pool, gpus_by_block: Mapping[int, int]) -> int:
    """Fewest nodes that hold gpus_by_block[k] GPUs used in aligned blocks of k (exact for powers of two)."""
    needed, gpus = 0, 0
    for size in sorted(gpus_by_block, reverse=True):
        gpus += gpus_by_block[size]
        per_node = size * (pool.gpus_per_node // size)
        needed = max(needed, -(-gpus // per_node) if per_node else (pool.nodes + 1) * bool(gpus))
    return needed


def blocks_used(problem: Problem, patterns: Sequence[Pattern], pool: int) -> dict[int, int]:
    """GPUs of a pool used per block size."""
    used: Counter[int] = Counter()
    for pattern in patterns:
        if pattern.pool == pool:
            size = max((problem.shapes[i].gpus for i in pattern.residents), default=1)
            used[size] += size * pattern.count
    return dict(used)


def cost(problem: Problem, patterns: Sequence[Pattern]) -> int:
    """Micro-dollars per hour of the GPUs used, or of whole nodes where the pool is billed by node."""
    by_pool: defaultdict[int, list[Pattern]] = defaultdict(list)
    for pattern in patterns:
        by_pool[pattern.pool].append(pattern)
    return sum(pool_cost(problem, by_pool[index], index) for index in range(len(problem.pools)))


def pool_cost(problem: Problem, patterns: Sequence[Pattern], index: int) -> int:
    """What the patterns of one pool cost."""
    pool = problem.pools[index]
    if pool.billing == "node":
        gpus = max(nodes_used(problem, patterns, index), pool.min_nodes) * pool.gpus_per_node
    else:
        gpus = sum(blocks_used(problem, patterns, index).values())
    return gpus * pool.price_microusd_per_h


def nodes_used(problem: Problem, patterns: Sequence[Pattern], index: int) -> int:
    """Fewest nodes of a pool that hold its patterns, with replicas that must be apart on different ones."""
    needed = nodes_needed(problem.pools[index], blocks_used(problem, patterns, index))
    return max(needed, *apart_counts(problem, patterns, index).values(), 0)


def holdings_now(problem: Problem) -> Counter[Holding]:
    """What runs now (problem.current): how many GPUs, or blocks, of a pool hold the same residents."""
    here: defaultdict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)
    for item in problem.current:
        here[problem.shapes[item.shape].pool, item.node, item.gpus].append(item.shape)
    return Counter((pool, tuple(sorted(residents))) for (pool, _, _), residents in here.items())


def lacking(problem: Problem, holdings: Mapping[Holding, int]) -> set[int]:
    """Demands of which the GPUs in use do not carry the peak, or have too few replicas."""
    carried: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    for (_, residents), count in holdings.items():
        for index in residents:
            carried[problem.shapes[index].demand] += count * problem.shapes[index].capacity_microrps
            replicas[problem.shapes[index].demand] += count
    return {i for i, demand in enumerate(problem.demands) if carried[i] < demand.peak_microrps or replicas[i] < demand.min_replicas}
