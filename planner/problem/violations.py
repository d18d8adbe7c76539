"""The judge of every Solution and placement, independent of every engine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations

from planner.problem.accounting import active_by_window, blocks_used, cost, nodes_needed, unserved, unserved_by_priority
from planner.problem.apart import apart_counts, machines
from planner.problem.model import MigSlot, Pattern, Placed, Pool, Problem, Shape, Solution


def fits_layout(layouts: Sequence[Sequence[MigSlot]], profiles: Sequence[str]) -> bool:
    """Whether some legal layout offers every profile of the multiset."""
    wanted = Counter(profiles)
    return any(all(offered.get(name, 0) >= count for name, count in wanted.items()) for offered in _offered(tuple(map(tuple, layouts))))


@lru_cache(maxsize=64)
def _offered(layouts: tuple[tuple[MigSlot, ...], ...]) -> tuple[dict[str, int], ...]:
    """How many slots of each profile the layouts have, each set of them once."""
    return tuple(dict(each) for each in {tuple(sorted(Counter(slot.profile for slot in layout).items())) for layout in layouts})


def is_legal(problem: Problem, pattern: Pattern) -> bool:
    """Whether nothing is wrong with one pattern; solvers ask this millions of times."""
    return next(_faults(problem, pattern), None) is None


def pattern_violations(problem: Problem, pattern: Pattern) -> Iterator[str]:
    """What is wrong with one pattern, as sentences with numbers and units; nothing when it is legal."""
    for fault in _faults(problem, pattern):
        names = ", ".join(problem.shapes[i].name for i in pattern.residents)
        yield f"pool {problem.pools[pattern.pool].name}, pattern [{names}]: {fault}"


def _faults(problem: Problem, pattern: Pattern) -> Iterator[str]:
    pool = problem.pools[pattern.pool]
    shapes = [problem.shapes[i] for i in pattern.residents]
    if not shapes or pattern.count < 1:
        yield f"empty pattern or count {pattern.count} below 1"
        return
    first = shapes[0]
    if first.pool != pattern.pool or first.gpus not in pool.block_sizes or len(shapes) > 1:
        yield from _kind_faults(pool, pattern, shapes)
    yield from _neighbour_faults(problem, shapes)
    yield from _host_faults(pool, shapes)
    if first.mode == "mig":
        yield from _mig_faults(pool, shapes)
    else:
        yield from _shared_faults(pool, shapes)


def _kind_faults(pool: Pool, pattern: Pattern, shapes: Sequence[Shape]) -> Iterator[str]:
    """Shapes that cannot be on a GPU of the pool, or not together, whatever they need."""
    if list(pattern.residents) != sorted(pattern.residents):
        yield f"residents {pattern.residents} are not in ascending order"
    if any(shape.pool != pattern.pool for shape in shapes):
        yield "a shape belongs to another pool"
    if len({(shape.mode, shape.colocation_class) for shape in shapes}) > 1:
        yield "shapes of different modes or colocation classes share a GPU"
    blocks = {shape.gpus for shape in shapes}
    if blocks != {1} and len(shapes) > 1:
        yield "a tensor-parallel shape shares its block"
    if not blocks <= set(pool.block_sizes):
        yield f"tensor-parallel size {max(blocks)} is not one of {sorted(pool.block_sizes)}"


def _neighbour_faults(problem: Problem, shapes: Sequence[Shape]) -> Iterator[str]:
    if len(shapes) == 1:
        return
    demands = [shape.demand for shape in shapes]
    if any(problem.demands[demand].not_with for demand in demands):
        for one, other in combinations(demands, 2):
            if other in problem.demands[one].not_with or one in problem.demands[other].not_with:
                yield f"{problem.demands[one].name} may not sit with {problem.demands[other].name}"
    if len(set(demands)) == len(demands):
        return
    for demand, count in sorted(Counter(demands).items()):
        if count > 1 and problem.demands[demand].spread_nodes:
            yield f"{count} replicas of {problem.demands[demand].name} on one GPU, which must be on different machines"
    if shapes[0].mode != "mig":
        yield "the same model sits twice on one shared GPU"


def _host_faults(pool: Pool, shapes: Sequence[Shape]) -> Iterator[str]:
    gpus = cores = memory_mib = 0
    for shape in shapes:
        gpus = max(gpus, shape.gpus)
        cores += shape.host_cores
        memory_mib += shape.host_memory_mib
    if cores > pool.host_cores_per_gpu * gpus:
        yield f"{cores} host cores of {pool.host_cores_per_gpu * gpus}"
    if memory_mib > pool.host_memory_mib_per_gpu * gpus:
        yield f"{memory_mib} MiB of host memory of {pool.host_memory_mib_per_gpu * gpus} MiB"


def _mig_faults(pool: Pool, shapes: Sequence[Shape]) -> Iterator[str]:
    profiles = [shape.mig_profile or "" for shape in shapes]
    if any(shape.gpus > 1 for shape in shapes):
        yield "a MIG instance cannot be part of a tensor-parallel block"
    if not fits_layout(pool.mig_layouts, profiles):
        yield f"no legal MIG layout holds {sorted(profiles)}"


def _shared_faults(pool: Pool, shapes: Sequence[Shape]) -> Iterator[str]:
    mode = shapes[0].mode
    if pool.mig_layouts:
        yield "the pool is in MIG mode, whole GPUs cannot be used"
    if mode == "exclusive" and len(shapes) > 1:
        yield "an exclusive shape shares its GPU"
    memory_mib = extra_mib = 0
    for shape in shapes:
        memory_mib += shape.memory_mib
        extra_mib = max(extra_mib, shape.start_extra_mib)
    if memory_mib > pool.memory_mib:
        yield f"{memory_mib} MiB of {pool.memory_mib} MiB"
    if memory_mib <= pool.memory_mib < memory_mib + extra_mib:
        yield f"{memory_mib + extra_mib} MiB while one of them starts, of {pool.memory_mib} MiB"
    if mode == "mps":
        yield from _mps_faults(pool, shapes)
    elif mode == "time_shared":
        yield from _active_faults(pool, shapes)
        yield from _used_faults(shapes, pool.resident_cost_permille * (len(shapes) - 1), pool.compute_limit_permille, "")


def _used_faults(shapes: Sequence[Shape], extra_permille: int, limit_permille: int, where: str) -> Iterator[str]:
    """Compute and memory bandwidth of the residents add up to a limit at most; sharing itself takes extra compute."""
    compute_permille, bandwidth_permille = extra_permille, 0
    for shape in shapes:
        compute_permille += shape.compute_permille
        bandwidth_permille += shape.bandwidth_permille
    for row, used in (("compute", compute_permille), ("memory bandwidth", bandwidth_permille)):
        if used > limit_permille:
            yield f"{used} per mille of {row} of {limit_permille}{where}"


def _active_faults(pool: Pool, shapes: Sequence[Shape]) -> Iterator[str]:
    """No more residents, and no window with more activity, than the tightest of them is sized for."""
    most, limit_permille = len(shapes), 1000 * pool.max_active_residents
    for shape in shapes:
        most = min(most, shape.max_residents)
        limit_permille = min(limit_permille, shape.active_limit_permille)
    if len(shapes) > most:
        yield f"{len(shapes)} residents where {most} may sit together"
    for window, active_permille in enumerate(active_by_window(shapes)):
        if active_permille > limit_permille:
            yield f"active {active_permille / 1000:.3f} in window {window} where the residents bear {limit_permille / 1000:.3f}"
            return


def _mps_faults(pool: Pool, shapes: Sequence[Shape]) -> Iterator[str]:
    """Thread percentages and memory bandwidth of the residents add up to one GPU at most."""
    allowed = min(pool.max_active_residents, *(shape.max_residents for shape in shapes))
    if len(shapes) > allowed:
        yield f"{len(shapes)} residents under MPS where {allowed} may be active together"
    yield from _used_faults(shapes, 0, 1000, " under MPS")


def violations(problem: Problem, solution: Solution) -> tuple[str, ...]:
    """Everything that is wrong with a solution, independent of every engine; empty when it is legal and honest."""
    found: list[str] = []
    for pattern in solution.patterns:
        found.extend(pattern_violations(problem, pattern))
    found.extend(_capacity_violations(problem, solution))
    found.extend(_honesty_violations(problem, solution))
    return tuple(found)


def _capacity_violations(problem: Problem, solution: Solution) -> Iterator[str]:
    for index, pool in enumerate(problem.pools):
        used = blocks_used(problem, solution.patterns, index)
        if nodes_needed(pool, used) > pool.nodes:
            yield f"pool {pool.name}: {sum(used.values())} GPUs in blocks {used} do not fit {pool.nodes} nodes of {pool.gpus_per_node}"
        for i, count in sorted(apart_counts(problem, solution.patterns, index).items()):
            if count > machines(problem, [index]):
                yield f"pool {pool.name}: {count} replicas of {problem.demands[i].name} on {machines(problem, [index])} machines"
    replicas: Counter[int] = Counter()
    for pattern in solution.patterns:
        for shape in pattern.residents:
            replicas[problem.shapes[shape].demand] += pattern.count
    for i, demand in enumerate(problem.demands):
        if replicas[i] > demand.max_replicas:
            yield f"{demand.name}: {replicas[i]} replicas, at most {demand.max_replicas}"


def _honesty_violations(problem: Problem, solution: Solution) -> Iterator[str]:
    missing_microrps = unserved(problem, solution.patterns)
    if solution.unserved_microrps != missing_microrps:
        yield f"unserved demand is reported as {solution.unserved_microrps}, it is {missing_microrps} micro-requests/s"
    cost_microusd_per_h = cost(problem, solution.patterns)
    if solution.cost_microusd_per_h != cost_microusd_per_h:
        yield f"cost is reported as {solution.cost_microusd_per_h}, it is {cost_microusd_per_h} micro-dollars/h"
    if solution.bound_microusd_per_h > cost_microusd_per_h:
        yield f"the cost bound {solution.bound_microusd_per_h} lies above the cost {cost_microusd_per_h} micro-dollars/h"
    by_priority_microrps = unserved_by_priority(problem, missing_microrps)
    if solution.bound_unserved_microrps > by_priority_microrps:
        yield f"the bound on unserved demand {solution.bound_unserved_microrps} lies above {by_priority_microrps} micro-requests/s"


def placement_violations(problem: Problem, solution: Solution, placed: Sequence[Placed]) -> tuple[str, ...]:
    """What is wrong with naming a solution's GPUs like this: wrong counts, blocks, nodes, overlaps or MIG start slots."""
    found: list[str] = []
    residents: defaultdict[tuple[int, int, tuple[int, ...]], list[Placed]] = defaultdict(list)
    owner: dict[tuple[int, int, int], tuple[int, ...]] = {}
    for item in placed:
        shape = problem.shapes[item.shape]
        pool = problem.pools[shape.pool]
        first = item.gpus[0] if item.gpus else -1
        block = tuple(range(first, first + shape.gpus))
        if item.gpus != block or first % shape.gpus or not 0 <= item.node < pool.nodes or block[-1] >= pool.gpus_per_node:
            found.append(f"pool {pool.name}: {shape.name} on node {item.node} GPUs {item.gpus} is not an aligned block of {shape.gpus}")
        for gpu in item.gpus:
            if owner.setdefault((shape.pool, item.node, gpu), item.gpus) != item.gpus:
                found.append(f"pool {pool.name}, node {item.node}, GPU {gpu}: tensor-parallel blocks overlap")
        residents[shape.pool, item.node, item.gpus].append(item)
    wanted: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for pattern in solution.patterns:
        wanted[pattern.pool, tuple(sorted(pattern.residents))] += pattern.count
    have = Counter((pool, tuple(sorted(item.shape for item in items))) for (pool, _, _), items in residents.items())
    if have != wanted:
        found.append(f"the placement holds other patterns than the solution: missing {wanted - have}, surplus {have - wanted}")
    for (index, node, gpus), items in sorted(residents.items()):
        if any(problem.shapes[item.shape].mode == "mig" for item in items) and not _legal_starts(problem, items):
            found.append(f"pool {problem.pools[index].name}, node {node}, GPU {gpus[0]}: no legal MIG layout has these start slots")
    return tuple(found)


def _legal_starts(problem: Problem, items: Sequence[Placed]) -> bool:
    shapes = [problem.shapes[item.shape] for item in items]
    slots = [
        MigSlot(shape.mig_profile or "", -1 if item.mig_start is None else item.mig_start)
        for shape, item in zip(shapes, items, strict=True)
    ]
    return len(set(slots)) == len(slots) and any(set(slots) <= set(layout) for layout in problem.pools[shapes[0].pool].mig_layouts)
