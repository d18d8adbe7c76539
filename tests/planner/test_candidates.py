"""Candidates: what they promise follows from the profiles; what is impossible says why."""

from __future__ import annotations

from planner.build import build
from planner.candidates import Candidate
from planner.plan import State
from planner.problem import Problem
from tests.fleets import fleet, workload

QUANTILE = 0.99


def candidates_of(**changes: object) -> tuple[Candidate, ...]:
    return build(fleet(**changes), State()).candidates


def test_every_candidate_meets_its_slo_at_its_capacity() -> None:
    """Invariant 13."""
    found = candidates_of()
    assert found
    for candidate in found:
        load = candidate.forecast(candidate.capacity_rps, QUANTILE)
        assert load is not None
        assert load.ttft_s <= candidate.group.slo.ttft_s
        assert load.tpot_s <= candidate.group.slo.tpot_s


def test_every_candidate_fits_its_gpu() -> None:
    for candidate in candidates_of():
        assert candidate.ledger.total_mib <= candidate.site.memory_mib(candidate.mig)


def test_shared_shapes_of_one_model_cover_its_demand_exactly() -> None:
    problem: Problem = build(fleet(), State()).problem
    for shape in problem.shapes:
        if shape.mode == "time_shared":
            demand = problem.demands[shape.demand]
            count = round(demand.peak_microrps / shape.capacity_microrps)
            assert count * shape.capacity_microrps >= demand.peak_microrps


def test_k_always_active_residents_fill_a_gpu_and_no_more() -> None:
    for candidate in candidates_of():
        assert candidate.compute_permille * candidate.max_active <= 1000


def test_a_model_too_large_for_a_gpu_says_how_much_is_missing() -> None:
    models = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}
    blueprint = build(fleet(models=models, workloads={"huge": workload("huge")}), State())
    assert blueprint.candidates == ()
    reasons = {(item.mode, item.gpus): item.reason for item in blueprint.rejections}
    assert "MiB are usable" in reasons["exclusive", 1]


def test_an_slo_nobody_can_meet_says_what_is_reached() -> None:
    workloads = {"middle": workload("middle", slo={"tpot_p95": "1ms"})}
    blueprint = build(fleet(workloads=workloads), State())
    assert blueprint.candidates == ()
    assert all("the goal is TTFT 2000 ms, TPOT 1.0 ms" in item.reason for item in blueprint.rejections)
