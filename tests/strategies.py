"""Hypothesis strategies for random Problems, with every feature of the boundary in reach."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from planner.problem import Demand, MigSlot, Mode, Pool, Problem, Shape

_EXCLUSIVE: Mode = "exclusive"

# a small invented slicing: two halves, or one half and two quarters, or four quarters
MIG_LAYOUTS = (
    (MigSlot("half", 0), MigSlot("half", 2)),
    (MigSlot("half", 0), MigSlot("quarter", 2), MigSlot("quarter", 3)),
    (MigSlot("quarter", 0), MigSlot("quarter", 1), MigSlot("half", 2)),
    tuple(MigSlot("quarter", start) for start in range(4)),
)


@st.composite
def pools(draw: st.DrawFn, index: int, largest_gpus: int) -> Pool:
    gpus_per_node = draw(st.integers(1, largest_gpus))
    mig = draw(st.integers(0, 3)) == 0
    return Pool(
        name=f"pool-{index}",
        nodes=draw(st.integers(0, max(1, largest_gpus // gpus_per_node))),
        gpus_per_node=gpus_per_node,
        memory_mib=draw(st.integers(50, 100)),
        price_microusd_per_h=draw(st.sampled_from([0, 1_000_000, 2_950_000, 1_100_000])),
        billing=draw(st.sampled_from(["gpu", "gpu", "node"])),
        min_nodes=draw(st.sampled_from([0, 0, 1])),
        max_active_residents=draw(st.integers(1, 3)),
        compute_limit_permille=draw(st.sampled_from([1000, 900])),
        resident_cost_permille=draw(st.sampled_from([0, 50])),
        block_sizes=(1,) if mig else draw(st.sampled_from([(1,), (1, 2), (1, 2, 4)])),
        mig_layouts=MIG_LAYOUTS if mig else (),
        host_cores_per_gpu=draw(st.sampled_from([1_000_000, 8])),
        host_memory_mib_per_gpu=draw(st.sampled_from([1_000_000_000, 100])),
    )


@st.composite
def demands(draw: st.DrawFn, index: int, count: int) -> Demand:
    others = [i for i in range(count) if i != index]
    return Demand(
        name=f"demand-{index}",
        rate_microrps=tuple(draw(st.lists(st.integers(0, 30), min_size=1, max_size=2))),
        priority=draw(st.sampled_from([0, 0, 5])),
        min_replicas=draw(st.sampled_from([0, 0, 1, 2])),
        max_replicas=draw(st.sampled_from([1_000_000, 1_000_000, 2, 1])),
        not_with=frozenset(draw(st.lists(st.sampled_from(others), max_size=1)) if others else ()),
    )


@st.composite
def shapes(draw: st.DrawFn, index: int, demand: int, pool: int, mig: bool) -> Shape:
    sharing: Mode = "mig" if mig else "time_shared"
    mode = draw(st.sampled_from((sharing, sharing, _EXCLUSIVE)))
    shape = Shape(
        name=f"shape-{index}",
        demand=demand,
        pool=pool,
        mode=mode,
        memory_mib=draw(st.integers(1, 110)) if mode == "exclusive" else draw(st.integers(1, 60)),
        capacity_microrps=draw(st.integers(0, 20)),
        host_cores=draw(st.integers(0, 4)),
        host_memory_mib=draw(st.integers(0, 50)),
        colocation_class=draw(st.sampled_from(["", "", "", "a"])),
    )
    if mode == "exclusive":
        return replace(shape, gpus=draw(st.sampled_from([1, 1, 2, 4])))
    if mode == "mig":
        return replace(shape, mig_profile=draw(st.sampled_from(["half", "quarter"])))
    return replace(
        shape,
        compute_permille=draw(st.integers(1, 700)),
        bandwidth_permille=draw(st.integers(0, 700)),
        active_permille=draw(st.sampled_from([1000, 1000, 400, 0])),
        max_active=draw(st.integers(1, 3)),
    )


@st.composite
def problems(draw: st.DrawFn, gpus: int = 4, demand_count: int = 4, shape_count: int = 10) -> Problem:
    pool_count = draw(st.integers(1, 2))
    chosen = tuple(draw(pools(i, max(1, gpus // pool_count))) for i in range(pool_count))
    count = draw(st.integers(0, demand_count))
    wanted = tuple(draw(demands(i, count)) for i in range(count))
    offered: list[Shape] = []
    for index in range(draw(st.integers(0, shape_count)) if count else 0):
        pool = draw(st.integers(0, pool_count - 1))
        offered.append(draw(shapes(index, draw(st.integers(0, count - 1)), pool, bool(chosen[pool].mig_layouts))))
    return Problem(chosen, wanted, tuple(offered))


def tiny_problems() -> st.SearchStrategy[Problem]:
    """Small enough for brute force."""
    return problems(gpus=3, demand_count=3, shape_count=6)
