"""Open GPUs that a greedy engine fills one replica at a time, with every rule of the Problem kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from planner.problem import Pattern, Pool, Problem, Shape, active_by_window, fits_layout, nodes_needed, shortfall
from solvers.model.useful_shapes import takes_whole_gpus


def _may_join(problem: Problem, residents: Sequence[int], newcomer: int) -> bool:
    """Whether a shape that is legal alone may join residents that are legal together (not empty), layouts of MIG aside."""
    shape = problem.shapes[newcomer]
    others = [problem.shapes[index] for index in residents]
    first = others[0]
    if takes_whole_gpus(shape) or takes_whole_gpus(first):
        return False
    if (shape.pool, shape.mode, shape.colocation_class) != (first.pool, first.mode, first.colocation_class):
        return False
    pool = problem.pools[shape.pool]
    together = [*others, shape]
    if sum(s.host_cores for s in together) > pool.host_cores_per_gpu:
        return False
    if sum(s.host_memory_mib for s in together) > pool.host_memory_mib_per_gpu or not _tolerated(problem, others, shape):
        return False
    return shape.mode == "mig" or _shares_fit(pool, together)


def _tolerated(problem: Problem, others: Sequence[Shape], shape: Shape) -> bool:
    for other in others:
        if other.demand == shape.demand and shape.mode != "mig":
            return False
        if other.demand in problem.demands[shape.demand].not_with or shape.demand in problem.demands[other.demand].not_with:
            return False
    return True


def _shares_fit(pool: Pool, together: Sequence[Shape]) -> bool:
    most = min(s.max_residents for s in together)
    if sum(s.memory_mib for s in together) + max(s.start_extra_mib for s in together) > pool.memory_mib:
        return False
    if together[0].mode == "mps":
        return (
            len(together) <= min(most, pool.max_active_residents)
            and sum(s.compute_permille for s in together) <= 1000
            and sum(s.bandwidth_permille for s in together) <= 1000
        )
    compute_permille = sum(s.compute_permille for s in together) + pool.resident_cost_permille * (len(together) - 1)
    return (
        len(together) <= most
        and max(active_by_window(together)) <= min(1000 * pool.max_active_residents, *(s.active_limit_permille for s in together))
        and compute_permille <= pool.compute_limit_permille
        and sum(s.bandwidth_permille for s in together) <= pool.compute_limit_permille
    )


@dataclass(slots=True)
class OpenGpu:
    """A GPU (or block) in use and the shapes on it."""

    pool: int
    residents: list[int]


@dataclass(slots=True)
class Packing:
    """What a greedy engine has placed so far: all GPUs in use, and those among them that are not taken whole."""

    problem: Problem
    gpus: list[OpenGpu] = field(default_factory=list)
    sharable: list[OpenGpu] = field(default_factory=list)
    blocks: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    capacity_microrps: Counter[int] = field(default_factory=Counter)
    replicas: Counter[int] = field(default_factory=Counter)
    largest_microrps: Counter[int] = field(default_factory=Counter)
    _layouts: dict[tuple[int, tuple[str, ...]], bool] = field(default_factory=dict)

    def missing(self, demand: int) -> int:
        """Unserved micro-requests/s of a demand as things stand."""
        largest_microrps = self.largest_microrps[demand]
        return shortfall(self.problem.demands[demand], self.capacity_microrps[demand], self.replicas[demand], largest_microrps)

    def wants(self, demand: int) -> bool:
        """Whether one more replica of the demand is allowed and needed."""
        return self.missing(demand) > 0 and self.replicas[demand] < self.problem.demands[demand].max_replicas

    def has_room(self, shape: int) -> bool:
        """Whether the pool still has an unused GPU (or aligned block) for the shape."""
        wanted = self.problem.shapes[shape]
        pool = self.problem.pools[wanted.pool]
        used = Counter(self.blocks[wanted.pool])
        used[wanted.gpus] += wanted.gpus
        return nodes_needed(pool, used) <= pool.nodes

    def open(self, shape: int) -> None:
        """Put the shape alone on an unused GPU or block."""
        wanted = self.problem.shapes[shape]
        self.gpus.append(OpenGpu(wanted.pool, [shape]))
        if not takes_whole_gpus(wanted):
            self.sharable.append(self.gpus[-1])
        self.blocks[wanted.pool][wanted.gpus] += wanted.gpus
        self._count(shape)

    def may_join(self, gpu: OpenGpu, newcomer: int) -> bool:
        """Whether a shape that is legal alone may join the residents of a GPU."""
        shapes = self.problem.shapes
        if not _may_join(self.problem, gpu.residents, newcomer):
            return False
        if shapes[newcomer].mode != "mig":
            return True
        profiles = tuple(sorted(shapes[i].mig_profile or "" for i in (*gpu.residents, newcomer)))
        key = (gpu.pool, profiles)
        if key not in self._layouts:
            self._layouts[key] = fits_layout(self.problem.pools[gpu.pool].mig_layouts, profiles)
        return self._layouts[key]

    def take(self, patterns: Iterable[Pattern]) -> None:
        """Open GPUs for known patterns, each as often as its pool has room."""
        for pattern in patterns:
            for _ in range(pattern.count):
                if not self.has_room(pattern.residents[0]):
                    break
                self.open(pattern.residents[0])
                for shape in pattern.residents[1:]:
                    self.join(self.gpus[-1], shape)

    def join(self, gpu: OpenGpu, shape: int) -> None:
        """Add the shape to a GPU in use."""
        gpu.residents.append(shape)
        self._count(shape)

    def _count(self, shape: int) -> None:
        demand, offered = self.problem.shapes[shape].demand, self.problem.shapes[shape].capacity_microrps
        self.capacity_microrps[demand] += offered
        self.replicas[demand] += 1
        self.largest_microrps[demand] = max(self.largest_microrps[demand], offered)

    def served(self, shape: int) -> int:
        """Micro-requests/s by which the shortfall of its demand would shrink if the shape were added."""
        wanted = self.problem.shapes[shape]
        i = wanted.demand
        capacity_microrps = self.capacity_microrps[i] + wanted.capacity_microrps
        largest_microrps = max(self.largest_microrps[i], wanted.capacity_microrps)
        after = shortfall(self.problem.demands[i], capacity_microrps, self.replicas[i] + 1, largest_microrps)
        return self.missing(i) - after

    def patterns(self) -> list[Pattern]:
        """One pattern per GPU in use."""
        return [Pattern(gpu.pool, tuple(sorted(gpu.residents))) for gpu in self.gpus]
