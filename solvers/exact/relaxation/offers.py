"""All that demands may buy as arrays, demand by demand, and what it is worth and costs at some duals.

An option is a candidate shape of a demand. The arrays hold one entry per option; options of a demand are neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Demand, Problem
from solvers.model.arrays import Flags, Floats, Integers
from solvers.model.master import Master
from solvers.model.shape_catalogue import ShapeCatalogue
from solvers.model.useful_shapes import takes_whole_gpus


@dataclass(frozen=True, slots=True)
class Offers:
    """Per option: shape, demand, pool, GPUs of a replica, slot class (-1: takes whole GPUs), capacity in micro-requests/s.

    capacity is cut off at the demand's peak, part is its part of the peak. plain tells per demand whether capacity alone decides if it is
    served. shared ones share a GPU that is not partitioned. starts holds the first option of every demand and the number of options.
    """

    starts: Integers
    shape: Integers
    demand: Integers
    pool: Integers
    gpus: Integers
    slot: Integers
    capacity: Integers
    part: Floats
    whole: Flags
    mig: Flags
    plain: Flags
    peak: Integers
    shared: Flags
    number: dict[int, int]

    def of(self, demand: int) -> slice:
        """The options of a demand."""
        return slice(int(self.starts[demand]), int(self.starts[demand + 1]))


def offers(problem: Problem, stock: ShapeCatalogue, of_shape: dict[int, int]) -> Offers:
    """The options of all demands."""
    shape = np.array([index for options in stock.shapes for index in options], dtype=np.int64)
    demand = np.array([i for i, options in enumerate(stock.shapes) for _ in options], dtype=np.int64)
    shapes = [problem.shapes[index] for index in shape]
    peak = np.array([demand.peak_microrps for demand in problem.demands], dtype=np.int64)
    at_least = np.maximum(1, peak)
    capacity = np.minimum(np.array([each.capacity_microrps for each in shapes], dtype=np.int64), at_least[demand])
    return Offers(
        starts=np.searchsorted(demand, np.arange(len(problem.demands) + 1)),
        shape=shape,
        demand=demand,
        pool=np.array([each.pool for each in shapes], dtype=np.int64),
        gpus=np.array([each.gpus for each in shapes], dtype=np.int64),
        slot=np.array([of_shape.get(int(index), -1) for index in shape], dtype=np.int64),
        capacity=capacity,
        part=capacity / at_least[demand],
        whole=np.array([takes_whole_gpus(each) for each in shapes], dtype=bool),
        mig=np.array([each.mode == "mig" for each in shapes], dtype=bool),
        plain=np.array([_plain(d, stock.options[i].capacity_microrps) for i, d in enumerate(problem.demands)], dtype=bool),
        peak=peak,
        shared=np.array([not takes_whole_gpus(each) and each.mode != "mig" for each in shapes], dtype=bool),
        number={int(index): option for option, index in enumerate(shape)},
    )


def _plain(demand: Demand, capacities_microrps: Sequence[int]) -> bool:
    """Whether capacity alone decides if a demand is served: no more replicas are ever of use than it may have."""
    smallest = min((each for each in capacities_microrps if each), default=1)
    enough = -(-demand.peak_microrps // smallest) <= demand.max_replicas
    return not demand.tolerate_nodes and demand.min_replicas <= 1 and demand.peak_microrps > 0 and enough


def first_prices(master: Master, these: Offers) -> Floats:
    """A guess of what each option costs: the part of a GPU that it takes of its scarcest row, scaled like the master."""
    pools = master.problem.pools
    each = np.array(
        [master.step_price(i) / master.unit / (pool.gpus_per_node if pool.billing == "node" else 1) for i, pool in enumerate(pools)]
    )
    parts = np.ones(len(master.slots.classes) + 1)
    for group in master.slots.groups:
        classes = list(group.classes)
        limits = np.maximum(1.0, np.array(group.limits, dtype=np.float64))
        taken = (np.array(group.weights, dtype=np.float64).reshape(len(classes), -1) / limits[None, :]).max(axis=1, initial=0.0)
        if group.layouts:
            fitting = {name: max(layout.count(name) for layout in group.layouts) for name in set(group.profiles)}
            taken = np.maximum(taken, [1.0 / max(1, fitting[name]) for name in group.profiles])
        parts[classes] = np.minimum(parts[classes], taken)
    part = np.where(these.whole, 1.0, parts[these.slot])
    return np.asarray(each[these.pool] * these.gpus * part)
