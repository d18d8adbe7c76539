"""A plan under requests in virtual time, with the catalogue looked up and the randomness seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.plan import Plan
from planner.simulation.gpu_usage import busy_parts
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.routing import by_length
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import BusyPart, GpuUse, Summary, WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from planner.verification.stress import NOMINAL, Stress, interference, slow_steps
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of

_NOTHING = Measurements()

# Lengths of a part of time that people read off a clock, in seconds; longer ones are whole hours.
_ROUND_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_MOST_PARTS = 60


@dataclass(frozen=True, slots=True)
class SimulatedPlan:
    """Results per workload and per used GPU, and how busy each of these GPUs was in each part of the time, GPU by GPU."""

    summary: Summary
    gpus: tuple[GpuUse, ...]
    utilisation: tuple[BusyPart, ...]


def simulated(
    plan: Plan,
    requests: Sequence[SimulatedRequest],
    *,
    seed: int = 0,
    interference_factor: float = 1.0,
    step_quantile: float | None = None,
    measurements: Measurements = _NOTHING,
    architecture: FindArchitecture = architecture_of,
    part_s: float | None = None,
) -> SimulatedPlan:
    """A plan under requests in virtual time; the same seed gives the same result.

    step_quantile makes every step take that quantile of its measured spread; None draws each step's from the seed.
    measurements are those of the fleet the plan was made for (Fleet.measurements): a plan does not carry them.
    part_s is the length of a part of utilisation; None takes a round one that makes at most 60 parts.
    """
    world = planned_world(plan, builtin().gpu, architecture, measurements)
    result = simulate(
        world.engines,
        world.gpus,
        by_length(requests, world.longer_over_tokens),
        world.routes,
        seed=seed,
        step_quantile=step_quantile,
        interference_factor=interference_factor,
    )
    used = {f"{gpu.node}/gpu{gpu.index}" for gpu in plan.desired.gpus if gpu.replicas}
    watched = [gpu for gpu in world.gpus if gpu.name in used]
    return SimulatedPlan(
        summarise(result.records, workload_slos(plan)),
        tuple(gpu for gpu in result.gpus if gpu.gpu in used),
        busy_parts(watched, result.busy_s, result.end_s, _round_part_s(result.end_s) if part_s is None else part_s),
    )


def _round_part_s(length_s: float) -> float:
    """The shortest round length of which at most _MOST_PARTS fill a time."""
    least_s = length_s / _MOST_PARTS
    return next((round_s for round_s in _ROUND_S if round_s >= least_s), 3600.0 * math.ceil(least_s / 3600.0))


def stressed(plan: Plan, requests: Sequence[SimulatedRequest], *, seed: int = 0) -> dict[str, WorkloadRow]:
    """Totals of three runs: nominal, with slow steps, and with neighbours that cost more than their share, as the plan's risk says."""
    risk = plan.desired.risk
    return {stress.name: under(plan, requests, stress, seed=seed).total for stress in (NOMINAL, slow_steps(risk), interference(risk))}


def under(
    plan: Plan, requests: Sequence[SimulatedRequest], stress: Stress, *, seed: int = 0, measurements: Measurements = _NOTHING
) -> Summary:
    """Results per workload under a stress; the rest as simulated()."""
    return simulated(
        plan,
        requests,
        seed=seed,
        step_quantile=stress.step_quantile,
        interference_factor=stress.interference_factor,
        measurements=measurements,
    ).summary
