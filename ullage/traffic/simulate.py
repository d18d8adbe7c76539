"""A plan under requests in virtual time, with the catalogue looked up and the randomness seeded."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan import Plan
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import GpuUse, Summary, WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from planner.verification.stress import NOMINAL, Stress, interference, slow_steps
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of

_NOTHING = Measurements()


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
    """Totals of three runs: nominal, with slow steps, and with neighbours that cost more than their share, as the plan's risk says."""
    risk = plan.desired.risk
    return {stress.name: under(plan, requests, stress, seed=seed).total for stress in (NOMINAL, slow_steps(risk), interference(risk))}


def under(
    plan: Plan, requests: Sequence[SimulatedRequest], stress: Stress, *, seed: int = 0, measurements: Measurements = _NOTHING
) -> Summary:
    """Results per workload under a stress; the rest as simulate_plan()."""
    summary, _ = simulate_plan(
        plan,
        requests,
        seed=seed,
        step_quantile=stress.step_quantile,
        interference_factor=stress.interference_factor,
        measurements=measurements,
    )
    return summary
