"""A plan under requests in virtual time, with the catalogue looked up and the randomness seeded."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import Plan
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import GpuUse, Summary, WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of

_NOTHING = Measurements()
# What a forecast is judged at besides the nominal run: every step at its 90th percentile, and neighbours that cost 30 %.
SLOW_QUANTILE = 0.9
STRESS_INTERFERENCE = 1.3


def simulate_plan(
    plan: Plan,
    requests: Sequence[SimulatedRequest],
    *,
    seed: int = 0,
    interference_factor: float = 1.0,
    step_quantile: float | None = None,
    measurements: Measurements = _NOTHING,
    architecture: FindArchitecture = architecture_of,
) -> tuple[Summary, tuple[GpuUse, ...]]:
    """Results per workload and per used GPU; the same seed gives the same result.

    step_quantile makes every step take that quantile of its measured spread; None draws each step's from the seed.
    measurements are those of the fleet the plan was made for (Fleet.measurements): a plan does not carry them.
    """
    world = planned_world(plan, builtin().gpu, architecture, measurements)
    result = simulate(
        world.engines,
        world.gpus,
        requests,
        world.routes,
        seed=seed,
        step_quantile=step_quantile,
        interference_factor=interference_factor,
    )
    used = {f"{gpu.node}/gpu{gpu.index}" for gpu in plan.desired.gpus if gpu.replicas}
    return summarise(result.records, workload_slos(plan)), tuple(gpu for gpu in result.gpus if gpu.gpu in used)


def stressed(plan: Plan, requests: Sequence[SimulatedRequest], *, seed: int = 0) -> dict[str, WorkloadRow]:
    """Totals of three runs: nominal, slow (every step at its p90) and with neighbours that cost 30 % beyond their share."""
    runs = {
        "nominal": simulate_plan(plan, requests, seed=seed),
        "slow steps (p90)": simulate_plan(plan, requests, seed=seed, step_quantile=SLOW_QUANTILE),
        "interference 1.3": simulate_plan(plan, requests, seed=seed, interference_factor=STRESS_INTERFERENCE),
    }
    return {name: summary.total for name, (summary, _) in runs.items()}
