"""What sizing promises, judged by what it does not use: the step-level core serves random arrivals at a replica's capacity."""

from __future__ import annotations

import random

import pytest

from planner.plan import State
from planner.simulation.simulation_input import SimulatedRequest
from tests.fleets import fleet
from ullage.planning.plan import plan_fleet
from ullage.traffic.simulate import simulated

REQUESTS = 1500


@pytest.mark.parametrize(
    ("source", "goals", "tokens"),
    [
        ("Qwen/Qwen3-0.6B", {"ttft_p95": "200ms", "tpot_p95": "20ms"}, (300, 50)),
        ("meta-llama/Meta-Llama-3.1-8B", {"ttft_p95": "500ms", "tpot_p95": "40ms"}, (600, 100)),
        ("Qwen/Qwen3-14B", {"ttft_p95": "2s", "tpot_p95": "100ms"}, (1000, 200)),
    ],
)
def test_at_its_capacity_a_replica_alone_meets_its_goals(source: str, goals: dict[str, str], tokens: tuple[int, int]) -> None:
    """Invariant 13. Every step takes its 90th percentile; the goals are for 95 of a hundred requests."""
    inputs, outputs = tokens
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["exclusive"]}}
    models = {"m": {"source": source, "max_model_len": 4096}}
    demand = {"rate": "1/s", "input_tokens": inputs, "output_tokens": outputs}
    plan = plan_fleet(fleet(pools=pools, models=models, workloads={"w": {"model": "m", "slo": goals, "demand": demand}}), State()).plan
    (replica,) = plan.desired.replicas
    draw = random.Random(7)
    now_s, requests = 0.0, []
    for _ in range(REQUESTS):
        now_s += draw.expovariate(replica.capacity_rps)
        requests.append(SimulatedRequest("w", replica.served_name, now_s, inputs, outputs))
    summary = simulated(plan, requests, seed=1, step_quantile=0.9).summary
    assert summary.total.requests == REQUESTS
    assert summary.total.attained >= 0.95 * REQUESTS
