"""Slot classes: places on a GPU that are interchangeable, and the groups of classes that may sit together.

Two shapes whose replicas ask the same of a GPU are one class of slot. On a shared GPU a class belongs to one demand, which sits there
once; on MIG it is anybody's, except where not_with pairs name the demand. Resources that can never bind in a pool are left out of the
class.

The rules "no more residents than the smallest max_residents" and "in each window the sum of active_permille stays
within the smallest active_limit_permille" are linear once both smallest values, which are a level, are fixed, and so is
the memory that one start may take for a while, once the largest of these is. So each (pool, mode, colocation class)
becomes one group per level and start: the shapes that bear the level and take no more for their start, with all rows
linear. A pattern is legal exactly when it is legal in one of these groups.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import TypeVar

import numpy as np

from planner.problem import Pool, Problem, Shape
from solvers.model.useful_shapes import takes_whole_gpus

# Largest number of residents, and largest sum of their active_permille.
Level = tuple[int, int]

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class SlotClass:
    """What a slot offers. demand is the identity tag (-1: anonymous); weights are per resource row of its kind of GPU."""

    pool: int
    mode: str
    mig_profile: str
    colocation_class: str
    demand: int
    level: Level
    start_extra_mib: int
    weights: tuple[int, ...]


# the order of classes
_ORDER = attrgetter("pool", "mode", "mig_profile", "colocation_class", "demand", "level", "start_extra_mib", "weights")


@dataclass(frozen=True, slots=True)
class Group:
    """Slot classes that may share one GPU of a pool while weights summed per row stay within limits.

    most is how often a class may appear: once on a shared GPU, on MIG as often as it fits.
    strangers holds the demands that a tagged class may not sit with. layouts is empty on time-shared GPUs.
    """

    pool: int
    classes: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]
    limits: tuple[int, ...]
    most: tuple[int, ...]
    tags: tuple[int, ...]
    strangers: tuple[frozenset[int], ...]
    profiles: tuple[str, ...]
    layouts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """The shapes in question, slot classes, the class of each shape that shares a GPU, and the groups."""

    shapes: frozenset[int]
    classes: tuple[SlotClass, ...]
    of_shape: dict[int, int]
    groups: tuple[Group, ...]


def slots(problem: Problem, shapes: Sequence[int]) -> Slots:
    """Slot classes and groups of the given candidate shapes; whole-GPU shapes have no class."""
    sharing = [index for index in shapes if not takes_whole_gpus(problem.shapes[index])]
    tagged = _tagged(problem)
    windows = _windows(problem, sharing)
    levels = _levels(problem, sharing)
    rows = _binding_rows(problem, levels, windows)
    key_of = {index: _slot_class(problem, index, tagged, rows, windows, levels[index]) for index in sharing}
    classes = tuple(sorted(set(key_of.values()), key=_ORDER))
    position = {key: i for i, key in enumerate(classes)}
    of_shape = {index: position[key] for index, key in key_of.items()}
    return Slots(frozenset(shapes), classes, of_shape, tuple(_groups(problem, classes, rows, windows)))


def _strangers(problem: Problem) -> dict[int, frozenset[int]]:
    apart: defaultdict[int, set[int]] = defaultdict(set)
    for i, demand in enumerate(problem.demands):
        for other in demand.not_with:
            apart[i].add(other)
            apart[other].add(i)
    return {i: frozenset(others) for i, others in apart.items()}


def _tagged(problem: Problem) -> dict[str, frozenset[int]]:
    """Per mode the demands whose identity matters: on a shared GPU all, which sit there once, on MIG those that bear not everybody."""
    every = frozenset(range(len(problem.demands)))
    return {"mig": frozenset(_strangers(problem)), "time_shared": every, "mps": every}


def _row_weights(shape: Shape, pool: Pool, windows: int) -> tuple[int, ...]:
    """What a shape takes of each row of a GPU; the surcharge per resident beyond the first is part of every weight.

    Memory is the first row; then come the number of residents and their activities, one row per window.
    """
    host = (shape.host_cores, shape.host_memory_mib)
    if shape.mode == "mig":
        return host
    if shape.mode == "mps":
        return (shape.memory_mib, 1, shape.compute_permille, shape.bandwidth_permille, *host)
    compute_permille = shape.compute_permille + pool.resident_cost_permille
    active_permille = shape.active_permille if len(shape.active_permille) == windows else shape.active_permille * windows
    return (shape.memory_mib, 1, *active_permille, compute_permille, shape.bandwidth_permille, *host)


def _row_limits(pool: Pool, mode: str, level: Level, start_extra_mib: int, windows: int) -> tuple[int, ...]:
    host = (pool.host_cores_per_gpu, pool.host_memory_mib_per_gpu)
    if mode == "mig":
        return host
    most, active_permille = level
    if mode == "mps":
        return (pool.memory_mib - start_extra_mib, most, 1000, 1000, *host)
    compute_permille = pool.compute_limit_permille + pool.resident_cost_permille
    return (pool.memory_mib - start_extra_mib, most, *(active_permille,) * windows, compute_permille, pool.compute_limit_permille, *host)


def _levels(problem: Problem, sharing: Sequence[int]) -> dict[int, Level]:
    """The level of each shape. No more can sit together than the smallest of a pool could, so levels beyond that are one."""
    most = _most_together(problem, sharing)
    levels: dict[int, Level] = {}
    for index in sharing:
        shape = problem.shapes[index]
        pool = problem.pools[shape.pool]
        residents = min(shape.max_residents, most[shape.pool, shape.mode])
        if shape.mode == "mig":
            levels[index] = (0, 0)
        elif shape.mode == "mps":
            levels[index] = min(residents, pool.max_active_residents), 0
        else:
            levels[index] = residents, min(shape.active_limit_permille, 1000 * min(residents, pool.max_active_residents))
    return levels


def _most_together(problem: Problem, sharing: Iterable[int]) -> dict[tuple[int, str], int]:
    """Per pool and mode as many residents as the smallest of them could be on one GPU."""
    least: defaultdict[tuple[int, str], list[tuple[int, int, int]]] = defaultdict(list)
    for index in sharing:
        shape = problem.shapes[index]
        least[shape.pool, shape.mode].append((shape.memory_mib, shape.host_cores, shape.host_memory_mib))
    most: dict[tuple[int, str], int] = {}
    for key, needs in least.items():
        pool = problem.pools[key[0]]
        limits = (pool.memory_mib, pool.host_cores_per_gpu, pool.host_memory_mib_per_gpu)
        smallest = map(min, zip(*needs, strict=True))
        most[key] = max(1, min([limit // need for limit, need in zip(limits, smallest, strict=True) if need] or [len(needs)]))
    return most


def _bears(own: Level, level: Level) -> bool:
    return own[0] >= level[0] and own[1] >= level[1]


def _windows(problem: Problem, sharing: Iterable[int]) -> int:
    """Windows in which active residents are counted."""
    return max((len(problem.shapes[i].active_permille) for i in sharing), default=1)


def _binding_rows(problem: Problem, levels: dict[int, Level], windows: int) -> dict[tuple[int, str], tuple[int, ...]]:
    """Per pool and mode the rows that could overflow if every demand put its largest shape on one GPU as often as it may."""
    members: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for i in levels:
        members[problem.shapes[i].pool, problem.shapes[i].mode].append(i)
    rows: dict[tuple[int, str], tuple[int, ...]] = {}
    for (index, mode), indexes in members.items():
        pool = problem.pools[index]
        most = max((len(layout) for layout in pool.mig_layouts), default=0)
        weights = [(problem.shapes[i].demand, _row_weights(problem.shapes[i], pool, windows)) for i in indexes]
        # limits on residents and activities are those of the group; no group has lower ones than these
        every = [levels[i] for i in indexes]
        level = (min(most for most, _ in every), min(active_permille for _, active_permille in every))
        limits = _row_limits(pool, mode, level, max(problem.shapes[i].start_extra_mib for i in indexes), windows)
        binding = {row for row, limit in enumerate(limits) if _largest_sum(weights, row, most) > limit}
        # a group needs one row at least
        rows[index, mode] = tuple(sorted(binding if mode == "mig" else binding or {1}))
    return rows


def _largest_sum(weights: Sequence[tuple[int, tuple[int, ...]]], row: int, most: int) -> int:
    if most:
        return most * max((weight[row] for _, weight in weights), default=0)
    largest: defaultdict[int, int] = defaultdict(int)
    for demand, weight in weights:
        largest[demand] = max(largest[demand], weight[row])
    return sum(largest.values())


def _slot_class(
    problem: Problem,
    index: int,
    tagged: dict[str, frozenset[int]],
    rows: dict[tuple[int, str], tuple[int, ...]],
    windows: int,
    level: Level,
) -> SlotClass:
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    weights = _row_weights(shape, pool, windows)
    return SlotClass(
        pool=shape.pool,
        mode=shape.mode,
        mig_profile=shape.mig_profile or "" if shape.mode == "mig" else "",
        colocation_class=shape.colocation_class,
        demand=shape.demand if shape.demand in tagged[shape.mode] else -1,
        level=level,
        start_extra_mib=0 if shape.mode == "mig" else shape.start_extra_mib,
        weights=tuple(weights[row] for row in rows[shape.pool, shape.mode]),
    )


def _groups(problem: Problem, classes: tuple[SlotClass, ...], rows: dict[tuple[int, str], tuple[int, ...]], windows: int) -> list[Group]:
    strangers = _strangers(problem)
    weights = [each.weights for each in classes]
    tags = [each.demand for each in classes]
    profiles = [each.mig_profile for each in classes]
    apart = [strangers.get(each.demand, frozenset()) for each in classes]
    together: defaultdict[tuple[int, str, str], list[int]] = defaultdict(list)
    for i, slot_class in enumerate(classes):
        together[slot_class.pool, slot_class.mode, slot_class.colocation_class].append(i)
    groups: list[Group] = []
    for (index, mode, _), members in sorted(together.items()):
        pool = problem.pools[index]
        slots_per_gpu = max((len(layout) for layout in pool.mig_layouts), default=0)
        for level, start_extra_mib, chosen in _together(classes, members):
            limits = _row_limits(pool, mode, level, start_extra_mib, windows)
            groups.append(
                Group(
                    pool=index,
                    classes=tuple(chosen),
                    weights=_chosen(weights, chosen),
                    limits=tuple(limits[row] for row in rows[index, mode]),
                    most=(slots_per_gpu or 1,) * len(chosen),
                    tags=_chosen(tags, chosen),
                    strangers=_chosen(apart, chosen),
                    profiles=_chosen(profiles, chosen),
                    layouts=_layouts(pool, classes, chosen, [limits[row] for row in rows[index, mode]]),
                )
            )
    return groups


def _together(classes: Sequence[SlotClass], members: Sequence[int]) -> Iterator[tuple[Level, int, list[int]]]:
    """Levels and starts with the classes that bear them; levels at which looser ones leave the same classes are left out."""
    most = sorted({classes[i].level[0] for i in members}, reverse=True)
    active_permille = sorted({classes[i].level[1] for i in members}, reverse=True)
    levels, starts = np.array([classes[i].level for i in members]), np.array([classes[i].start_extra_mib for i in members])
    found: list[tuple[Level, int, list[int]]] = []
    for start_extra_mib in sorted({classes[i].start_extra_mib for i in members}):
        seen: list[tuple[Level, list[int]]] = []
        for level in product(most, active_permille):
            bearing = np.flatnonzero((levels >= level).all(axis=1) & (starts <= start_extra_mib))
            chosen = [members[at] for at in bearing.tolist()]
            if chosen and not any(other == chosen and _bears(looser, level) for looser, other in seen):
                seen.append((level, chosen))
        found.extend((level, start_extra_mib, chosen) for level, chosen in seen)
    yield from sorted(found, key=lambda item: item[:2])


def _chosen(values: Sequence[_Value], places: Sequence[int]) -> tuple[_Value, ...]:
    return tuple(map(values.__getitem__, places))


def _layouts(pool: Pool, classes: Sequence[SlotClass], chosen: Sequence[int], limits: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """The largest multisets of profiles that some layout offers and the host has room for, with slots of the chosen classes; sorted."""
    if not pool.mig_layouts:
        return ()
    by_profile: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for i in chosen:
        by_profile[classes[i].mig_profile].append(classes[i].weights)
    lightest = {name: tuple(map(min, zip(*listed, strict=True))) for name, listed in by_profile.items()}
    found: set[tuple[str, ...]] = set()
    for layout in pool.mig_layouts:
        _parts(tuple(sorted(slot.profile for slot in layout if slot.profile in lightest)), lightest, limits, found)
    whole = sorted(found, key=lambda part: (-len(part), part))
    counts = [Counter(part) for part in whole]
    return tuple(sorted(part for part, count in zip(whole, counts, strict=True) if not any(count < other for other in counts)))


def _parts(layout: tuple[str, ...], lightest: dict[str, tuple[int, ...]], limits: Sequence[int], found: set[tuple[str, ...]]) -> None:
    if layout in found:
        return
    if all(sum(lightest[name][row] for name in layout) <= limit for row, limit in enumerate(limits)):
        found.add(layout)
        return
    for at, name in enumerate(layout):
        if at == 0 or layout[at - 1] != name:
            _parts((*layout[:at], *layout[at + 1 :]), lightest, limits, found)
