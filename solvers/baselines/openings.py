"""GPUs in use that may still take a replica of one demand, group by group of alike ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import heappop, heappush

from solvers.baselines.greedy import helps, largest, open_fresh
from solvers.baselines.open_gpus import OpenGpus
from solvers.baselines.open_table import Sharers, sharers_of
from solvers.baselines.packing import Packing


class Openings:
    """Where one demand's replicas may join.

    Residents only join and what a demand lacks only shrinks, so a GPU that refuses it once refuses it for good. Alike GPUs are asked once:
    placing replicas takes time in proportion to the groups of GPUs, not to the GPUs.
    """

    def __init__(self, packing: Packing, shapes: Sequence[int]) -> None:
        """Shapes: those of the demand."""
        self.packing = packing
        self.shapes = shapes
        self.most_microrps = largest(packing.problem, shapes)
        self._fitting: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        self._by_sharers: defaultdict[Sharers, list[int]] = defaultdict(list)
        for index in shapes:
            self._by_sharers[sharers_of(packing.problem.shapes[index])].append(index)
        for own in self._by_sharers.values():
            for group in packing.table.likely([packing.problem.shapes[index] for index in own]):
                self._push(group)

    def fitting(self, group: OpenGpus) -> list[int]:
        """The shapes that may join a group's GPUs, whether they help or not."""
        key = (group.pool, group.residents)
        if key not in self._fitting:
            load = group.load
            own = self._by_sharers[group.pool, load.mode, load.colocation_class] if load else []
            self._fitting[key] = [index for index in own if self.packing.may_join(group, index)]
        return self._fitting[key]

    def open_fresh(self) -> bool:
        """Open unused GPUs; False when nothing has room."""
        group = open_fresh(self.packing, self.shapes, self.most_microrps)
        if group is not None:
            self._learn(group)
        return group is not None

    def _join(self, group: OpenGpus, index: int) -> None:
        """Add a shape to as many of a group's GPUs as would be chosen one by one."""
        alone = self.packing.problem.shapes[index].mode == "mig"
        count = 1 if alone else min(group.in_a_row, self.packing.alike(index, self.most_microrps))
        joined = self.packing.join(group, index, count)
        if group.runs:
            self._push(group)
        self._learn(joined)

    def _learn(self, group: OpenGpus) -> None:
        """Only a MIG GPU takes the same demand twice."""
        if group.load is not None and group.load.mode == "mig":
            self._push(group)

    def _push(self, group: OpenGpus) -> None:
        raise NotImplementedError


class InOrder(Openings):
    """GPUs in the order in which they came into use."""

    def __init__(self, packing: Packing, shapes: Sequence[int]) -> None:
        """As Openings."""
        self._heap: list[tuple[int, tuple[int, ...], OpenGpus]] = []
        super().__init__(packing, shapes)

    def _push(self, group: OpenGpus) -> None:
        # a number is on one GPU at a time: the residents only keep an entry that is out of date apart from the one that is not
        heappush(self._heap, (group.first, group.residents, group))

    def join_first(self) -> bool:
        """Add to the first GPU that takes any the shape that serves most; False when none takes one."""
        shapes = self.packing.problem.shapes
        served = {index: self.packing.served(index) for index in self.shapes}
        while self._heap:
            first, _, group = self._heap[0]
            if group.runs and group.first == first:
                fitting = [index for index in self.fitting(group) if helps(self.packing, index, served[index])]
                if fitting:
                    self._join(group, min(fitting, key=lambda index: (-served[index], shapes[index].memory_mib, index)))
                    return True
            heappop(self._heap)
        return False


class Tightest(Openings):
    """GPUs by the memory that is free on them."""

    def __init__(self, packing: Packing, shapes: Sequence[int]) -> None:
        """As Openings."""
        # per shape: free MiB, first number, residents, group; entries that are out of date are passed over
        self._heaps: dict[int, list[tuple[int, int, tuple[int, ...], OpenGpus]]] = {index: [] for index in shapes}
        super().__init__(packing, shapes)

    def _push(self, group: OpenGpus) -> None:
        memory_mib = group.load.memory_mib if group.load else 0
        free_mib = self.packing.problem.pools[group.pool].memory_mib - memory_mib
        for index in self.fitting(group):
            heappush(self._heaps[index], (free_mib, group.first, group.residents, group))

    def join_tightest(self) -> bool:
        """Add the shape that serves most to the GPU with the least memory left after it; False when none takes it."""
        shapes = self.packing.problem.shapes
        best: tuple[tuple[int, ...], OpenGpus, int] | None = None
        for index, heap in self._heaps.items():
            while heap and not (heap[0][3].runs and heap[0][3].first == heap[0][1]):
                heappop(heap)
            if not heap:
                continue
            served_microrps = self.packing.served(index)
            if helps(self.packing, index, served_microrps):
                free_mib, first, _, group = heap[0]
                key = (-served_microrps, free_mib - shapes[index].memory_mib, first, index)
                if best is None or key < best[0]:
                    best = (key, group, index)
        if best is not None:
            self._join(best[1], best[2])
        return best is not None
