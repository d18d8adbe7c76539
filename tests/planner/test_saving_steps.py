"""The saving step by step, by hand."""

from __future__ import annotations

import pytest

from planner.plan import Baseline, Explanation, ModelReasons, PlannedWindow, Way
from planner.saving_steps import saving_steps, scale_to_zero_usd_per_h, time_on_fraction
from tests.plans import mig_plan
from tests.ullage.views.html.page_plans import changed


def window(start_s: float, end_s: float, stands_for: int, **rates_rps: float) -> PlannedWindow:
    return PlannedWindow(timeline="clock", start_s=start_s, end_s=end_s, stands_for=stands_for, rates_rps=rates_rps)


def model(name: str, *ways_usd_per_h: tuple[str, float]) -> ModelReasons:
    ways = tuple(
        Way(pool="h100", mode=mode, gpus=1, capacity_rps=1.0, replicas=1, gpu_fraction=1.0, usd_per_h=usd, chosen=False)
        for mode, usd in ways_usd_per_h
    )
    return ModelReasons(served_name=name, limit="tpot", limit_reason="", ways=ways, refusals=())


DAY = (window(0, 100, 2, a=1.0), window(100, 200, 1, a=0.0, b=2.0))
BASELINES = {
    "exclusive": Baseline(cost_usd_per_h=10.0, unserved_rps=0.0, gpus=3, fits=False),
    "first-fit-decreasing": Baseline(cost_usd_per_h=5.0, unserved_rps=1.0, gpus=2, fits=True),
}


def test_a_model_is_on_in_the_windows_in_which_it_has_requests() -> None:
    assert time_on_fraction(DAY, "a") == pytest.approx(200 / 300)
    assert time_on_fraction(DAY, "b") == pytest.approx(100 / 300)
    assert time_on_fraction(DAY, "nobody") == 0
    assert time_on_fraction((), "a") == 1


def test_scale_to_zero_pays_the_cheapest_exclusive_way_while_it_is_on() -> None:
    models = (model("a", ("exclusive", 6.0), ("exclusive", 3.0), ("time_shared", 1.0)), model("b", ("exclusive", 6.0)))
    desired = changed(mig_plan(), windows=DAY, explanation=Explanation(models=models, gpus=())).desired
    assert scale_to_zero_usd_per_h(desired) == pytest.approx(3.0 * 2 / 3 + 6.0 / 3)


def test_without_windows_or_an_exclusive_way_there_is_no_such_figure() -> None:
    told = Explanation(models=(model("a", ("exclusive", 3.0)), model("b", ("mig", 1.0))), gpus=())
    assert scale_to_zero_usd_per_h(changed(mig_plan(), windows=DAY).desired) is None
    assert scale_to_zero_usd_per_h(changed(mig_plan(), explanation=told).desired) is None
    assert scale_to_zero_usd_per_h(changed(mig_plan(), windows=DAY, explanation=told).desired) is None


def test_steps_are_there_only_where_the_plan_has_their_figures() -> None:
    plan = mig_plan()
    assert [step.cost_usd_per_h for step in saving_steps(plan.desired)] == [2.95]
    certificate = plan.desired.certificate.model_copy(update={"baselines": BASELINES})
    steps = saving_steps(changed(plan, certificate=certificate).desired)
    assert [(step.cost_usd_per_h, step.unserved_rps) for step in steps] == [(10.0, 0.0), (5.0, 1.0), (2.95, 0.0)]
    assert [step.note for step in steps] == ["priced as if the pools were large enough", "", ""]
    told = Explanation(models=(model("a", ("exclusive", 3.0)),), gpus=())
    steps = saving_steps(changed(plan, certificate=certificate, windows=DAY, explanation=told).desired)
    assert [step.cost_usd_per_h for step in steps] == [10.0, 2.0, 5.0, 2.95]
