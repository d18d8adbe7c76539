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


# eight hours, then twelve; nobody asks for anything in the four between them
DAY = (window(0, 28_800, 1, a=1.0), window(43_200, 86_400, 1, a=0.0, b=2.0))
BASELINES = {
    "exclusive": Baseline(cost_usd_per_h=10.0, unserved_rps=0.0, gpus=3, fits=False),
    "first-fit-decreasing": Baseline(cost_usd_per_h=5.0, unserved_rps=1.0, gpus=2, fits=True),
}


def test_a_model_is_on_in_the_windows_in_which_it_has_requests() -> None:
    assert time_on_fraction(DAY, "a") == pytest.approx(8 / 24)
    assert time_on_fraction(DAY, "b") == pytest.approx(12 / 24)
    assert time_on_fraction(DAY, "nobody") == 0
    week = (window(0, 86_400, 1, a=1.0), window(500_000, 600_000, 1, b=1.0))
    assert time_on_fraction(week, "a") == pytest.approx(1 / 7)
    trace = tuple(item.model_copy(update={"timeline": "t.csv"}) for item in (window(0, 300, 1, a=1.0), window(400, 600, 1, b=1.0)))
    assert time_on_fraction(trace, "a") == pytest.approx(300 / 600)


def test_where_a_window_stands_for_others_nobody_knows_how_long_they_are() -> None:
    told = Explanation(models=(model("a", ("exclusive", 3.0)),), gpus=())
    assert scale_to_zero_usd_per_h(changed(mig_plan(), windows=(window(0, 3600, 2, a=1.0),), explanation=told).desired) is None


def test_scale_to_zero_pays_the_cheapest_exclusive_way_while_it_is_on() -> None:
    models = (model("a", ("exclusive", 6.0), ("exclusive", 3.0), ("time_shared", 1.0)), model("b", ("exclusive", 6.0)))
    desired = changed(mig_plan(), windows=DAY, explanation=Explanation(models=models, gpus=())).desired
    assert scale_to_zero_usd_per_h(desired) == pytest.approx(3.0 * 8 / 24 + 6.0 * 12 / 24)


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
    assert [step.cost_usd_per_h for step in steps] == [10.0, 1.0, 5.0, 2.95]
