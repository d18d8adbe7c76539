"""Pools whose GPUs are partly taken by others, as parts: whole nodes, and aligned blocks of alike GPUs of the other nodes.

A block is a small node of its own to the Problem, so that every rule about nodes (alignment, room, links) holds as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from planner.problem import Placed
from planner.spec import FleetPool

# node and first GPU of a block
NodeGpu = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks of one size of a pool, on each GPU of which others hold taken_mib. whole: the part is made of complete nodes."""

    pool: FleetPool
    taken_mib: int
    gpus_per_node: int
    places: tuple[NodeGpu, ...]
    whole: bool

    def real(self, item: Placed) -> Placed:
        """A place in this part, with the numbers of the pool's own nodes and GPUs."""
        node, first = self.places[item.node]
        return Placed(item.shape, node, tuple(first + gpu for gpu in item.gpus), item.mig_start)

    def inside(self, shape: int, node: int, gpus: tuple[int, ...], mig_start: int | None) -> Placed | None:
        """A place of the pool in the numbers of this part; None when it lies elsewhere."""
        for index, (own, first) in enumerate(self.places):
            if own == node and all(first <= gpu < first + self.gpus_per_node for gpu in gpus):
                return Placed(shape, index, tuple(gpu - first for gpu in gpus), mig_start)
        return None


def parts(pool: FleetPool) -> tuple[Part, ...]:
    """The parts of a pool: its untouched nodes first (maybe none), then blocks, largest first, those with least taken first."""
    taken = {(item.node, item.gpu): item.memory_mib for item in pool.taken}
    touched = {node for node, _ in taken}
    whole = Part(pool, 0, pool.gpus_per_node, tuple((node, 0) for node in range(pool.max_nodes) if node not in touched), whole=True)
    blocks: defaultdict[tuple[int, int], list[NodeGpu]] = defaultdict(list)
    for node in sorted(touched):
        for first, size, taken_mib in _blocks(node, pool, taken):
            blocks[taken_mib, -size].append((node, first))
    found = [Part(pool, taken_mib, -size, tuple(places), whole=False) for (taken_mib, size), places in sorted(blocks.items())]
    return (whole, *found)


def _blocks(node: int, pool: FleetPool, taken: Mapping[NodeGpu, int]) -> list[tuple[int, int, int]]:
    """First GPU, size and MiB taken of the aligned blocks of alike GPUs of a node; GPUs that are taken whole are in none."""
    held = [taken.get((node, gpu), 0) for gpu in range(pool.gpus_per_node)]
    found: list[tuple[int, int, int]] = []
    gpu = 0
    while gpu < len(held):
        size = max(size for size in pool.block_sizes if gpu % size == 0 and held[gpu : gpu + size] == [held[gpu]] * size)
        if held[gpu] < pool.gpu.memory_usable_mib:
            found.append((gpu, size, held[gpu]))
        gpu += size
    return found


def node_name(pool: FleetPool, index: int) -> str:
    """Name of a pool's node: the pool's name and a number from 0."""
    return f"{pool.name}-{index}"


def node_index(name: str, pool: FleetPool | None) -> int | None:
    """The number of a node of that name, None when the pool has no such node."""
    number = name.rpartition("-")[2]
    if pool is None or not number.isdecimal() or int(number) >= pool.max_nodes:
        return None
    return int(number) if node_name(pool, int(number)) == name else None
