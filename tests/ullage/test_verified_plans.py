"""Plans that are simulated: what falls short gets more room, what cannot be promised is served and marked, and nothing else is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import Attainment, Plan, State, WorkloadForecast
from planner.problem import objective
from planner.sizing.blueprint import build
from planner.spec import Fleet
from planner.verification.plan_judge import KEPT_LOAD_FACTORS, falls_short, keeps
from tests.fleets import fleet, workload
from tests.planner.spec.fleet_files import load
from ullage.checking import CheckError, architecture_of, checked
from ullage.planning.ask import NO_LIMITS, answer_exactly
from ullage.planning.plan import plan_fleet
from ullage.planning.verified import Draft, Drafts, confirmed
from ullage.views.plan.explain_text import explain_text
from ullage.views.plan.plan_text import plan_text

# Two goals of one model in one replica, beside three others: with neighbours that cost 1.3 the first sizing misses one.
_CROWDED = """
schema_version: 1
pools:
  h100: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 2, price: 2.95 USD/h}
models:
  llama-8b: {source: meta-llama/Llama-3.1-8B-Instruct}
  qwen-7b: {source: Qwen/Qwen2.5-7B-Instruct}
  qwen-1b: {source: Qwen/Qwen2.5-1.5B-Instruct}
  phi-4: {source: microsoft/phi-4}
workloads:
  chat: {model: llama-8b, class: interactive, demand: {rate: 4/s, input_tokens: 600, output_tokens: 250}}
  batch: {model: llama-8b, class: background, demand: {rate: 1/s, input_tokens: 2000, output_tokens: 200}}
  code: {model: qwen-7b, class: standard, demand: {rate: 2/s, input_tokens: 900, output_tokens: 100}}
  tags: {model: qwen-1b, class: background, demand: {rate: 3/s, input_tokens: 500, output_tokens: 30}}
  night: {model: phi-4, class: background, demand: {rate: 12/min, input_tokens: 2000, output_tokens: 400}}
"""


def _rows(plan: Plan) -> dict[str, WorkloadForecast]:
    return {row.name: row for row in plan.desired.workloads}


def _attained(fraction: float, low_fraction: float, high_fraction: float) -> Attainment:
    return Attainment(stress="nominal", requests=400, fraction=fraction, low_fraction=low_fraction, high_fraction=high_fraction)


def _impossible(**policy: Any) -> Fleet:
    """A goal that the large model misses even alone."""
    tight = {"large": workload("large", slo={"ttft_p95": "2s", "tpot_p95": "5ms"}), "small": workload("small")}
    return fleet(workloads=tight, policy=policy)


def test_what_is_sure_and_what_is_denied() -> None:
    perhaps = [_attained(0.985, 0.97, 0.994)]
    assert not keeps(perhaps, 0.99)
    assert not falls_short(perhaps, 0.99)
    assert falls_short([_attained(1.0, 0.99, 1.0), _attained(0.95, 0.92, 0.97)], 0.99)
    assert keeps([_attained(0.99, 0.97, 1.0)], 0.99)


def test_every_model_is_simulated_under_every_stress() -> None:
    plan = plan_fleet(fleet(), State(), verify=True).plan
    for row in plan.desired.workloads:
        assert [item.stress for item in row.simulated] == ["nominal", "slow steps (p90)", "interference 1.3"]
        assert keeps(row.simulated, 0.99)
        assert not row.best_effort
    assert "Simulated, each GPU with its planned load: confirmed (goals met by 99 % of the requests of each model)" in plan_text(plan)
    assert plan == plan_fleet(fleet(), State(), verify=True).plan


def test_without_verification_nothing_is_said() -> None:
    plan = plan_fleet(fleet(), State()).plan
    assert all(row.simulated == () for row in plan.desired.workloads)
    assert "Simulated" not in plan_text(plan)


def test_what_falls_short_is_planned_again_with_more_room() -> None:
    plan = plan_fleet(load(_CROWDED), State(), verify=True).plan
    assert not any(row.unserved_rps for row in plan.desired.workloads)
    for row in plan.desired.workloads:
        assert not falls_short(row.simulated, 0.99)
        assert not row.best_effort


def test_what_cannot_be_promised_is_served_and_marked_unless_strict() -> None:
    served = plan_fleet(_impossible(), State(), verify=True).plan
    large = _rows(served)["large"]
    assert (large.unserved_rps, large.best_effort) == (0.0, True)
    assert falls_short(large.simulated, 0.99)
    assert not _rows(served)["small"].best_effort, "what can be promised is"
    for row in served.desired.workloads:
        assert row.best_effort or row.kept_load_factor is None or row.kept_load_factor >= 1.0, "what breaks is the neighbour"
    text = plan_text(served)
    assert "NOT CONFIRMED for large" in text
    assert "best effort: large" in text
    strict = plan_fleet(_impossible(strict=True), State(), verify=True).plan
    assert _rows(strict)["large"].unserved_rps == pytest.approx(1.0)
    assert not _rows(strict)["large"].best_effort


def test_the_checker_refuses_promises_that_the_simulation_denies() -> None:
    plan = plan_fleet(_impossible(), State(), verify=True).plan

    def changed(**update: object) -> Plan:
        rows = tuple(row.model_copy(update=update) if row.name == "large" else row for row in plan.desired.workloads)
        return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})

    with pytest.raises(CheckError, match=r"large: .* meet their goals under .*, not 99\.00%, and it is not marked best_effort"):
        checked(changed(best_effort=False), "plan")
    with pytest.raises(CheckError, match="large: is marked best_effort, though no simulation denies its goals"):
        checked(changed(simulated=(_attained(1.0, 0.99, 1.0),)), "plan")
    with pytest.raises(CheckError, match="misses the goal"):
        checked(changed(simulated=(), best_effort=False), "plan")
    with pytest.raises(CheckError, match=r"an attainment of 0\.5000 is not within its interval of 0\.9900 to 1\.0000"):
        checked(changed(simulated=(_attained(0.5, 0.99, 1.0),), best_effort=False), "plan")


def test_a_model_that_few_requests_leave_in_doubt_is_named() -> None:
    plan = plan_fleet(fleet(), State(), verify=True).plan
    rows = tuple(
        row.model_copy(update={"simulated": (_attained(0.985, 0.97, 0.994),)}) if row.name == "large" else row
        for row in plan.desired.workloads
    )
    doubtful = plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})
    assert "Simulated, each GPU with its planned load: not sure for large (" in plan_text(doubtful)


def test_the_plan_says_up_to_which_load_its_goals_are_kept() -> None:
    plan = plan_fleet(fleet(), State(), verify=True).plan
    factors = {row.name: row.kept_load_factor for row in plan.desired.workloads}
    assert all(factor is not None and factor in KEPT_LOAD_FACTORS and factor >= 1.0 for factor in factors.values())
    assert "  margin: " in plan_text(plan)
    for kept, text, borne, explained in (
        (3.0, "every model keeps its goals with 3 times the load", "x3", "simulated to break above 3 times the load"),
        (0.0, "less than 0.5", "x0", "simulated to break with less than 0.5 times the load"),
        (1.1, "between 1.1 and 1.25 times", "x1.1", "simulated to break between 1.1 and 1.25 times the load"),
    ):
        rows = tuple(row.model_copy(update={"kept_load_factor": kept}) for row in plan.desired.workloads)
        changed = plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})
        assert text in plan_text(changed)
        assert sum(borne in line.split() for line in plan_text(changed).splitlines()) == len(rows)
        assert explained in explain_text(changed.desired, None)
        assert explained in explain_text(changed.desired, "small")
    plain = plan_fleet(fleet(), State()).plan
    assert all(row.kept_load_factor is None for row in plain.desired.workloads)
    assert " bears " not in plan_text(plain)
    assert "simulated" not in explain_text(plain.desired, None)


@settings(max_examples=6)
@given(st.dictionaries(st.sampled_from(["small", "middle", "large"]), st.sampled_from(["0.2/s", "2/s", "8/s", "40/s"]), min_size=1))
def test_invariant_23_a_simulated_plan_promises_nothing_that_its_simulation_denies(rates: dict[str, str]) -> None:
    plan = plan_fleet(fleet(workloads={name: workload(name, rate) for name, rate in rates.items()}), State(), verify=True).plan
    for row in plan.desired.workloads:
        assert bool(row.simulated) == (row.unserved_rps < row.rate_rps)
        assert falls_short(row.simulated, 0.99) == row.best_effort
        if row.kept_load_factor is not None and row.kept_load_factor >= 1.0:
            assert not row.best_effort


@settings(max_examples=15)
@given(
    st.dictionaries(
        st.sampled_from(["small", "middle", "large"]), st.sampled_from(["0.3/s", "1/s", "3/s", "8/s", "20/s", "60/s"]), min_size=1
    ),
    st.sampled_from([(0.9, 0.5), (0.95, 0.8), (0.99, 0.9)]),
)
def test_invariant_24_more_margin_never_costs_less(rates: dict[str, str], less: tuple[float, float]) -> None:
    """Of the closed formulas, by unserved demand and then cost, where both answers are proven."""

    def answered(attainment: float, step_quantile: float) -> tuple[tuple[int, ...], bool]:
        policy = {"risk": {"attainment": attainment, "step_quantile": step_quantile}}
        problem = build(fleet(workloads={name: workload(name, rate) for name, rate in rates.items()}, policy=policy), State()).problem
        solution = answer_exactly(problem, NO_LIMITS)
        return objective(problem, solution), solution.status == "optimal"

    little, proven = answered(*less)
    much, also_proven = answered(0.99, 0.99)
    if proven and also_proven:
        assert little <= much


def test_whoever_says_stop_gets_the_best_plan_so_far() -> None:
    plan = plan_fleet(fleet(), State()).plan

    def never(_: object) -> Draft:
        raise AssertionError("a solve after the stop")

    drafts = Drafts(greedy=never, quick=lambda _: Draft(plan, lambda: plan), shown=never, full=never)
    stopped = confirmed(fleet(), drafts, architecture_of, lambda: True, lambda: True)
    assert stopped.desired.replicas == plan.desired.replicas
    assert all(row.simulated for row in stopped.desired.workloads)
