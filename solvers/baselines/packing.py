"""Open GPUs that a greedy engine fills, with every rule of the Problem kept; alike GPUs are filled together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from planner.problem import Pattern, Problem, fits_layout, shortfall
from solvers.baselines.open_gpus import GpuLoad, OpenGpus, may_join
from solvers.baselines.open_table import OpenTable
from solvers.model.useful_shapes import takes_whole_gpus

_Key = tuple[int, tuple[int, ...]]


@dataclass(slots=True)
class Packing:
    """What a greedy engine has placed so far: all GPUs in use, grouped by the shapes on them, and what they serve."""

    problem: Problem
    groups: dict[_Key, OpenGpus] = field(default_factory=dict)
    blocks: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    capacity_microrps: Counter[int] = field(default_factory=Counter)
    replicas: Counter[int] = field(default_factory=Counter)
    largest_microrps: Counter[int] = field(default_factory=Counter)
    table: OpenTable = field(default_factory=OpenTable)
    # nodes per pool that may be in use, where these are fewer than the pool has
    most_nodes: dict[int, int] = field(default_factory=dict)
    _opened: int = 0
    _apart: dict[int, frozenset[int]] = field(default_factory=dict)
    _layouts: dict[tuple[int, tuple[str, ...]], bool] = field(default_factory=dict)

    def missing(self, demand: int) -> int:
        """Unserved micro-requests/s of a demand as things stand."""
        largest_microrps = self.largest_microrps[demand]
        return shortfall(self.problem.demands[demand], self.capacity_microrps[demand], self.replicas[demand], largest_microrps)

    def wants(self, demand: int) -> bool:
        """Whether one more replica of the demand is allowed and needed."""
        return self.missing(demand) > 0 and self.replicas[demand] < self.problem.demands[demand].max_replicas

    def fewest(self, demand: int) -> int:
        """Replicas that a demand takes whatever they serve: the first that tolerates the loss of a node serves nothing by itself."""
        wanted = self.problem.demands[demand]
        return max(wanted.min_replicas, 1 + wanted.tolerate_nodes)

    def room(self, shape: int) -> int:
        """How many more times the pool has an unused GPU (or aligned block) for the shape."""
        wanted = self.problem.shapes[shape]
        pool, used = self.problem.pools[wanted.pool], self.blocks[wanted.pool]
        nodes = self.most_nodes.get(wanted.pool, pool.nodes)
        room, gpus = nodes * pool.gpus_per_node, 0
        for size in sorted({wanted.gpus, *used}, reverse=True):
            gpus += used[size]
            if size <= wanted.gpus:
                room = min(room, (nodes * (pool.gpus_per_node // size) * size - gpus) // wanted.gpus)
        return max(0, room)

    def alike(self, shape: int, most_microrps: int) -> int:
        """How many replicas of a shape may follow each other before any shape of its demand serves less than it does now; at least one.

        most_microrps is the largest capacity among these shapes: while that much is missing, each serves all that it can.
        """
        wanted = self.problem.shapes[shape]
        demand = self.problem.demands[wanted.demand]
        missing, replicas = self.missing(wanted.demand), self.replicas[wanted.demand]
        # what is lost with a node grows with the largest replica
        grows = demand.tolerate_nodes and wanted.capacity_microrps > self.largest_microrps[wanted.demand]
        if grows or replicas < self.fewest(wanted.demand) or missing < most_microrps or not wanted.capacity_microrps:
            return 1
        return min(1 + (missing - most_microrps) // wanted.capacity_microrps, demand.max_replicas - replicas)

    def open(self, shape: int, count: int = 1) -> OpenGpus:
        """Put the shape alone on unused GPUs or blocks; returns all that hold just that."""
        return self._open(self.problem.shapes[shape].pool, (shape,), count)

    def _open(self, pool: int, residents: tuple[int, ...], count: int) -> OpenGpus:
        gpus = self.problem.shapes[residents[0]].gpus
        group = self.group(pool, residents)
        group.add(self._opened, count)
        self._opened += count
        self.blocks[pool][gpus] += gpus * count
        for shape in residents:
            self._count(shape, count)
        return group

    def group(self, pool: int, residents: Sequence[int]) -> OpenGpus:
        """The GPUs of a pool that hold these shapes, which may be none."""
        key = (pool, tuple(sorted(residents)))
        if key not in self.groups:
            shapes = [self.problem.shapes[index] for index in key[1]]
            load = None if takes_whole_gpus(shapes[0]) else GpuLoad.of(shapes[0])
            for shape in shapes[1:]:
                load = load.plus(shape) if load else None
            self.groups[key] = OpenGpus(pool, key[1], load)
            if load is not None:
                self.table.add(self.problem.pools[pool], self.groups[key])
        return self.groups[key]

    def may_join(self, group: OpenGpus, newcomer: int) -> bool:
        """Whether a shape that is legal alone may join the residents of a GPU."""
        shape = self.problem.shapes[newcomer]
        pool = self.problem.pools[group.pool]
        if group.load is None or shape.pool != group.pool:
            return False
        if not may_join(group.load, shape, pool, self.apart(shape.demand)):
            return False
        if shape.mode != "mig":
            return True
        key = (group.pool, tuple(sorted((*group.load.profiles, shape.mig_profile or ""))))
        if key not in self._layouts:
            self._layouts[key] = fits_layout(pool.mig_layouts, key[1])
        return self._layouts[key]

    def apart(self, demand: int) -> frozenset[int]:
        """The demands that may not share a GPU with a demand, whichever of the two says so."""
        if not self._apart:
            apart: defaultdict[int, set[int]] = defaultdict(set)
            for i, own in enumerate(self.problem.demands):
                apart[i] |= own.not_with
                for other in own.not_with:
                    apart[other].add(i)
            self._apart = {i: frozenset(others) for i, others in apart.items()}
        return self._apart[demand]

    def take(self, patterns: Iterable[Pattern]) -> None:
        """Open GPUs for known patterns, each as often as its pool has room."""
        for pattern in patterns:
            count = min(pattern.count, self.room(pattern.residents[0]))
            if count:
                self._open(pattern.pool, tuple(sorted(pattern.residents)), count)

    def join(self, group: OpenGpus, shape: int, count: int = 1) -> OpenGpus:
        """Add the shape to the first of a group of GPUs in use, which must be in a row; returns all that hold what these hold now."""
        first = group.take(count)
        joined = self.group(group.pool, (*group.residents, shape))
        joined.add(first, count)
        self._count(shape, count)
        return joined

    def _count(self, shape: int, count: int) -> None:
        demand, offered = self.problem.shapes[shape].demand, self.problem.shapes[shape].capacity_microrps
        self.capacity_microrps[demand] += offered * count
        self.replicas[demand] += count
        self.largest_microrps[demand] = max(self.largest_microrps[demand], offered)

    def served(self, shape: int, missing_microrps: int | None = None) -> int:
        """Micro-requests/s by which the shortfall of its demand would shrink if the shape were added.

        missing_microrps is that shortfall, for those who ask about many shapes of one demand.
        """
        wanted = self.problem.shapes[shape]
        i = wanted.demand
        capacity_microrps = self.capacity_microrps[i] + wanted.capacity_microrps
        largest_microrps = max(self.largest_microrps[i], wanted.capacity_microrps)
        after = shortfall(self.problem.demands[i], capacity_microrps, self.replicas[i] + 1, largest_microrps)
        return (self.missing(i) if missing_microrps is None else missing_microrps) - after

    def patterns(self) -> list[Pattern]:
        """One pattern per group of GPUs in use."""
        return [Pattern(group.pool, group.residents, group.count) for group in self.groups.values() if group.runs]
