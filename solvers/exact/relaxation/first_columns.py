"""Where the relaxation of a stage begins: duals and columns as if each option cost the part of a GPU that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from solvers.exact.relaxation.cover_program import CoverProgram
from solvers.exact.relaxation.offers import Offers
from solvers.exact.relaxation.pricing import Pricing
from solvers.model.arrays import Floats
from solvers.model.columns import Column, GpuColumn, PatternColumn, ReplicaColumn
from solvers.searches.slices import Slices

# replicas per demand
_MOST_ALONE = 6


def first_duals(program: CoverProgram, guess: Floats, worth: Sequence[float]) -> Floats:
    """Duals of the rows: the first cut of each demand is worth what the demand is, slots and nodes what they cost by guess (per option)."""
    duals = np.zeros(program.solver.rows)
    seen: set[int] = set()
    for cut, row in zip(program.cuts, program.cut_rows, strict=True):
        if cut.demand not in seen:
            seen.add(cut.demand)
            duals[row] = worth[cut.demand]
    master = program.master
    cheap = np.full(len(master.slots.classes) + 1, math.inf)
    np.minimum.at(cheap, program.offers.slot, guess)
    for slot, row in program.class_row.items():
        duals[row] = cheap[slot] if np.isfinite(cheap[slot]) else 0.0
    for i, pool in enumerate(master.problem.pools):
        if pool.billing == "node" and master.goal.priority is None:
            duals[program.capacity_row(i, 1)] = -master.node_price(i) / pool.gpus_per_node
    return duals


def first_columns(pricing: Pricing, offers: Offers, guess: Floats) -> list[Column]:
    """A few replicas of each demand alone, and layouts of MIG."""
    found = list[Column]()
    rates = np.full(len(offers.shape), math.inf)
    np.divide(guess, offers.part, out=rates, where=offers.part > 0)
    for i in range(len(offers.plain)):
        own = np.arange(offers.starts[i], offers.starts[i + 1])
        for option in own[np.argsort(rates[own], kind="stable")][:_MOST_ALONE]:
            shape = int(offers.shape[option])
            shared = bool(offers.shared[option])
            found.append(GpuColumn(int(offers.pool[option]), (shape,)) if shared else ReplicaColumn(i, shape))
    for group, seller in zip(pricing.master.slots.groups, pricing.every_seller, strict=True):
        if isinstance(seller, Slices):
            found.extend(PatternColumn(group.pool, pattern) for pattern in seller.around(group.classes))
    return found
