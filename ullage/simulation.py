"""A plan under requests in virtual time, with the catalogue looked up and the randomness seeded."""

from __future__ import annotations

import random
from collections.abc import Sequence

from planner.plan import Plan
from planner.simulation.inputs import SimulatedRequest
from planner.simulation.metrics import GpuUse, Summary, summarise
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.simulate import simulate
from profiles.catalogue import builtin
from ullage.checking import architecture_of


def simulate_plan(
    plan: Plan, requests: Sequence[SimulatedRequest], *, seed: int = 0, interference_factor: float = 1.0
) -> tuple[Summary, tuple[GpuUse, ...]]:
    """Results per workload and per used GPU; the same seed gives the same result."""
    world = planned_world(plan, builtin().gpu, architecture_of(plan))
    # step times are drawn from measured residuals: nothing here is secret
    draw = random.Random(seed).random  # noqa: S311
    result = simulate(world.engines, world.gpus, requests, world.routes, draw, interference_factor=interference_factor)
    used = {f"{gpu.node}/gpu{gpu.index}" for gpu in plan.desired.gpus if gpu.replicas}
    return summarise(result.records, workload_slos(plan)), tuple(gpu for gpu in result.gpus if gpu.gpu in used)
