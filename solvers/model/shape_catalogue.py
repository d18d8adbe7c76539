"""What each demand may buy: its candidate shapes, how many of each the pools hold, and which of them are worth a look."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Problem, Shape
from solvers.model.arrays import Floats
from solvers.model.remembered import per_problem
from solvers.searches.mixes import Options

# beyond so many replicas of its largest shape a demand has a plain cover row
_MOST_REPLICAS = 30


@dataclass(frozen=True, slots=True)
class ShapeCatalogue:
    """The candidate shapes of each demand and what it may buy of them."""

    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Options, ...]

    def efficient(self, demand: int, values: Floats) -> list[int]:
        """The options of a demand that no other beats in price and capacity: the cheapest mixes need no others.

        An option that the pools hold too rarely to carry the demand alone beats nobody.
        """
        options = self.options[demand]
        wanted = options.demand
        capacity = np.minimum(np.array(options.capacity_microrps, dtype=np.float64), wanted.peak_microrps)
        # replicas that carry the demand alone; one more where one may be lost
        enough = np.ceil(wanted.peak_microrps / np.maximum(capacity, 0.5)) + wanted.tolerate_nodes
        plenty = np.array(options.available) >= np.maximum(enough, wanted.min_replicas)
        order = np.lexsort((values, -capacity))
        cheapest = math.inf
        chosen: list[int] = []
        for option in order:
            if values[option] < cheapest:
                chosen.append(int(option))
                if plenty[option]:
                    cheapest = float(values[option])
        return sorted(chosen)


def catalogue(problem: Problem, shapes: Sequence[int]) -> ShapeCatalogue:
    """Options per demand."""
    by_demand: defaultdict[int, list[int]] = defaultdict(list)
    for index in shapes:
        by_demand[problem.shapes[index].demand].append(index)
    chosen = tuple(tuple(by_demand[i]) for i in range(len(problem.demands)))
    return ShapeCatalogue(chosen, tuple(options_of(problem, i, own) for i, own in enumerate(chosen)))


def options_of(problem: Problem, demand: int, shapes: Sequence[int]) -> Options:
    """What a demand may buy if these are its shapes."""
    slices = _most_slices(problem)
    return Options(
        demand=problem.demands[demand],
        capacity_microrps=tuple(problem.shapes[index].capacity_microrps for index in shapes),
        available=tuple(_available(problem, problem.shapes[index], slices) for index in shapes),
    )


def _available(problem: Problem, shape: Shape, slices: Sequence[dict[str, int]]) -> int:
    pool = problem.pools[shape.pool]
    if shape.mode == "mig":
        return pool.gpus * slices[shape.pool].get(shape.mig_profile or "", 0)
    return pool.nodes * (pool.gpus_per_node // shape.gpus)


@per_problem
def _most_slices(problem: Problem) -> tuple[dict[str, int], ...]:
    """Per pool how many slices of a profile a GPU has at most."""
    most: list[dict[str, int]] = []
    for pool in problem.pools:
        counts = [Counter(slot.profile for slot in layout) for layout in pool.mig_layouts]
        most.append({profile: max(count[profile] for count in counts) for profile in {name for count in counts for name in count}})
    return tuple(most)


def coverable(options: Options) -> bool:
    """Whether the sum of capacity says what is unserved: no maximum in reach, no loss tolerated, and the minimum met by the peak itself."""
    demand = options.demand
    largest = max(options.capacity_microrps, default=0)
    return (
        not demand.tolerate_nodes
        and (demand.min_replicas <= 1 or demand.min_replicas * largest <= demand.peak_microrps)
        and demand.max_replicas >= sum(options.available)
        and demand.peak_microrps > 0
    )


def large(stock: ShapeCatalogue) -> frozenset[int]:
    """Demands of so many replicas that they are covered replica by replica: half a replica more or less is lost among them."""
    return frozenset(
        i
        for i, options in enumerate(stock.options)
        if coverable(options) and options.demand.peak_microrps > _MOST_REPLICAS * max(options.capacity_microrps, default=0)
    )
