"""From whole mixes to GPUs: what all mixes together ask of a pool is a cutting stock problem of that pool."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from planner.problem import Pattern, Problem, nodes_needed
from solvers.exact.plans.cutting import Cutting
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.model.columns import GpuColumn, MixColumn, PatternColumn
from solvers.model.useful_shapes import takes_whole_gpus
from solvers.solution import merged


def pack(root: CoverRoot, mixes: Mapping[int, MixColumn]) -> tuple[Pattern, ...]:
    """Real patterns for one mix per demand: cutting stock per pool."""
    master = root.master
    needs: defaultdict[int, Counter[int]] = defaultdict(Counter)
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    patterns: list[Pattern] = []
    for demand in sorted(mixes):
        for index, count in mixes[demand].shapes:
            shape = master.problem.shapes[index]
            if takes_whole_gpus(shape):
                patterns.append(Pattern(shape.pool, (index,), count))
            else:
                needs[shape.pool][master.slots.of_shape[index]] += count
                waiting[master.slots.of_shape[index]].extend([index] * count)
    known = _known(root)
    for queue in waiting.values():
        queue.sort(reverse=True)
    for pool, wanted in sorted(needs.items()):
        cut = Cutting(root.pricing.sellers(pool), len(master.slots.classes), wanted, known[pool]).solve()
        for classes, count in sorted(cut.items(), key=lambda item: (-len(item[0]), item[0])):
            for _ in range(count):
                patterns.append(Pattern(pool, tuple(sorted(waiting[slot].pop() for slot in classes if waiting[slot]))))
    return merged(patterns)


def _known(root: CoverRoot) -> defaultdict[int, list[tuple[int, ...]]]:
    """Patterns of the program per pool, as slot classes."""
    of_shape = root.master.slots.of_shape
    known: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
    for column in root.program.columns:
        if isinstance(column, PatternColumn):
            known[column.pool].append(column.classes)
        elif isinstance(column, GpuColumn):
            known[column.pool].append(tuple(sorted(of_shape[shape] for shape in column.shapes)))
    return known


def too_many(problem: Problem, patterns: Sequence[Pattern], way: Mapping[int, int]) -> list[Pattern]:
    """The patterns that find no room: per pool the emptiest, as many as are too many for its nodes (or for those of way)."""
    out: list[Pattern] = []
    for index, pool in enumerate(problem.pools):
        own = [Pattern(each.pool, each.residents) for each in patterns if each.pool == index for _ in range(each.count)]
        own.sort(key=lambda each: (-problem.shapes[each.residents[0]].gpus, -len(each.residents), each.residents))
        blocks: Counter[int] = Counter()
        for each in own:
            size = problem.shapes[each.residents[0]].gpus
            blocks[size] += size
            if nodes_needed(pool, blocks) > way.get(index, pool.nodes):
                blocks[size] -= size
                out.append(each)
    return out


def without(patterns: Sequence[Pattern], left_out: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """The patterns less those that are left out, one GPU each."""
    less = Counter((each.pool, each.residents) for each in left_out)
    kept = [Pattern(each.pool, each.residents, each.count - less[each.pool, each.residents]) for each in patterns]
    return tuple(each for each in kept if each.count > 0)
