"""A fleet with measurements is planned on what was measured, says so, and is simulated with the very same step times."""

from __future__ import annotations

from dataclasses import replace

from planner.plan import State
from planner.simulation.plan_input import planned_world
from planner.simulation.simulation_input import SimulatedRequest
from planner.sizing.blueprint import build
from planner.sizing.candidates import Candidate
from planner.spec import Fleet
from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.prediction import PredictedEngine, predict_latency
from profiles.settings import EngineSettings
from profiles.store.measurements import LatencyPoint, Measurements
from tests.fleets import fleet
from tests.profiles.points import measured, point
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet
from ullage.traffic.simulate import simulated

MODEL, GPU = "meta-llama/Llama-3.1-8B", "H100-SXM-80GB"


def slower_points(factor: float) -> Measurements:
    """The 8B model measured `factor` times as slow as it is predicted, at four loads."""
    engine = PredictedEngine(builtin().model(MODEL), builtin().gpu(GPU), EngineSettings())

    def at(clients: int) -> LatencyPoint:
        found = predict_latency(engine, ClosedLoop(1024, 128, clients))
        ttft_s, tpot_s = found.ttft.p50_s * factor, found.tpot.p50_s * factor
        return point(concurrency=clients, ttft_s=ttft_s, tpot_s=tpot_s, provenance=measured(engine_version="0.32.0"))

    return Measurements(latency=tuple(at(clients) for clients in (1, 4, 16, 32)))


def with_points(measurements: Measurements) -> Fleet:
    return fleet().model_copy(update={"measurements": measurements})


def alone(asked: Fleet, name: str = "middle") -> Candidate:
    return next(item for item in build(asked, State()).candidates if (item.group.name, item.mode, item.gpus) == (name, "exclusive", 1))


def test_what_was_measured_changes_capacity_and_only_that_models() -> None:
    plain, slow = alone(fleet()), alone(with_points(slower_points(1.5)))
    assert slow.capacity_rps < 0.85 * plain.capacity_rps
    assert "measured on this engine at 4 loads" in slow.step.provenance
    assert "fitted on" in plain.step.provenance


def test_the_plan_says_what_its_step_times_rest_on_and_the_simulation_uses_them() -> None:
    measurements = slower_points(1.5)
    asked = with_points(measurements)
    plan = plan_fleet(asked, State()).plan
    told = {item.served_name: item.forecast.provenance for item in plan.desired.replicas}
    assert "measured on this engine at 4 loads" in told["middle"]
    assert "p10 - p90 of step times" in told["middle"]
    world = planned_world(plan, builtin().gpu, architecture_of, measurements)
    step_times = {item.name: item.step_time for item in world.engines}
    name = next(item.name for item in plan.desired.replicas if item.served_name == "middle")
    # the plan takes steps at p90 of the spread that the simulation draws from
    drawn = step_times[name]
    assert replace(drawn.slower(drawn.quantile(0.9)), residual_quantiles=()) == alone(asked).step


def test_simulated_answers_are_as_slow_as_was_measured() -> None:
    measurements = slower_points(1.5)
    plan = plan_fleet(with_points(measurements), State()).plan
    requests = [SimulatedRequest("middle", "middle", float(second), 300, 150) for second in range(20)]

    def median_tpot_s(known: Measurements) -> float:
        summary = simulated(plan, requests, step_quantile=0.5, measurements=known).summary
        row = next(item for item in summary.workloads if item.workload == "middle")
        assert row.tpot is not None
        return row.tpot.p50_s

    assert 1.3 < median_tpot_s(measurements) / median_tpot_s(Measurements()) < 1.6
