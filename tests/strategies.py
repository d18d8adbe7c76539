"""Random Problems with every feature of the boundary in reach, as Hypothesis strategies.

A Problem is drawn from a seed rather than choice by choice: Hypothesis prefers small choices, and a Problem made of those
has nothing to share. The price is that failures do not shrink; the sizes are small enough to read them.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from planner.problem import Demand, MigSlot, Pool, Problem, Shape
from tests.brute_force import legal_patterns

# a small invented slicing: two halves, or one half and two quarters, or four quarters
MIG_LAYOUTS = (
    (MigSlot("half", 0), MigSlot("half", 2)),
    (MigSlot("half", 0), MigSlot("quarter", 2), MigSlot("quarter", 3)),
    (MigSlot("quarter", 0), MigSlot("quarter", 1), MigSlot("half", 2)),
    tuple(MigSlot("quarter", start) for start in range(4)),
)


def _pool(rng: Random, index: int, largest_gpus: int) -> Pool:
    gpus_per_node = rng.randint(1, largest_gpus)
    mig = rng.random() < 0.3
    return Pool(
        name=f"pool-{index}",
        nodes=rng.choice([0, *range(1, 1 + largest_gpus // gpus_per_node), largest_gpus // gpus_per_node]),
        gpus_per_node=gpus_per_node,
        memory_mib=rng.randint(60, 100),
        price_microusd_per_h=rng.choice([0, 1_000_000, 2_950_000, 1_100_000]),
        billing="node" if rng.random() < 0.3 else "gpu",
        min_nodes=rng.choice([0, 0, 1]),
        max_active_residents=rng.choice([1, 2, 3, 3]),
        compute_limit_permille=rng.choice([1000, 900]),
        resident_cost_permille=rng.choice([0, 50]),
        block_sizes=(1,) if mig else rng.choice([(1,), (1, 2), (1, 2, 4)]),
        mig_layouts=MIG_LAYOUTS if mig else (),
        host_cores_per_gpu=rng.choice([1_000_000, 8]),
        host_memory_mib_per_gpu=rng.choice([1_000_000_000, 100]),
    )


def _demand(rng: Random, index: int, count: int) -> Demand:
    others = [i for i in range(count) if i != index]
    return Demand(
        name=f"demand-{index}",
        rate_microrps=tuple(rng.randint(0, 20) for _ in range(rng.randint(1, 2))),
        priority=rng.choice([0, 0, 5]),
        min_replicas=rng.choice([0, 0, 0, 1, 2]),
        max_replicas=rng.choice([1_000_000, 1_000_000, 1_000_000, 2, 1]),
        not_with=frozenset([rng.choice(others)] if others and rng.random() < 0.3 else []),
        tolerate_nodes=rng.choice([0, 0, 0, 1]),
    )


def _shape(rng: Random, index: int, demand: int, pool: int, of: Pool, windows: int) -> Shape:
    shape = Shape(
        name=f"shape-{index}",
        demand=demand,
        pool=pool,
        mode="exclusive",
        memory_mib=rng.randint(1, 110),
        capacity_microrps=rng.choice([0, 5, 7, 10, 10, 13, 20]),
        host_cores=rng.randint(0, 4),
        host_memory_mib=rng.randint(0, 50),
        colocation_class=rng.choice(["", "", "", "", "a"]),
    )
    if rng.random() < 0.35:
        gpus = rng.choice([*of.block_sizes, 2])
        return replace(shape, gpus=gpus, memory_mib=rng.randint(1, 110) // gpus, capacity_microrps=shape.capacity_microrps * gpus)
    if of.mig_layouts:
        return replace(shape, mode="mig", mig_profile=rng.choice(["half", "quarter"]))
    return replace(
        shape,
        mode=rng.choice(["time_shared", "time_shared", "mps"]),
        memory_mib=rng.randint(1, 60),
        compute_permille=rng.randint(1, 600),
        bandwidth_permille=rng.randint(0, 600),
        active_permille=_active(rng, windows),
        max_residents=rng.choice([1, 2, 3, 3, 1000]),
        active_limit_permille=rng.choice([400, 1000, 1500, 2000, 3000]),
        start_extra_mib=rng.choice([0, 0, 10, 40]),
    )


def _active(rng: Random, windows: int) -> tuple[int, ...]:
    return tuple(rng.choice([1000, 1000, 400, 0]) for _ in range(rng.choice([1, windows])))


def random_problem(seed: int, gpus: int, demand_count: int, shape_count: int) -> Problem:
    """The Problem of a seed, with at most so many GPUs per pool (two pools share them), demands and shapes."""
    rng = Random(seed)
    pool_count = rng.choice([1, 1, 2])
    pools = tuple(_pool(rng, i, max(1, gpus // pool_count)) for i in range(pool_count))
    count = rng.randint(0, 1) if rng.random() < 0.1 else rng.randint(1, demand_count)
    demands = tuple(_demand(rng, i, count) for i in range(count))
    windows = rng.choice([1, 1, 2, 3])
    shapes: list[Shape] = []
    for index in range(rng.randint(shape_count // 2, shape_count) if count else 0):
        pool = rng.randrange(pool_count)
        shapes.append(_shape(rng, index, rng.randrange(count), pool, pools[pool], windows))
    return Problem(pools, demands, tuple(shapes))


def problems(gpus: int = 4, demand_count: int = 4, shape_count: int = 10) -> st.SearchStrategy[Problem]:
    """Small Problems."""
    return st.integers(0, 2**32).map(lambda seed: random_problem(seed, gpus, demand_count, shape_count))


def tiny_problems() -> st.SearchStrategy[Problem]:
    """Small enough for brute force: what it tries grows with the cube of the legal patterns."""
    return problems(gpus=3, demand_count=3, shape_count=7).filter(lambda problem: len(legal_patterns(problem)) <= 40)
