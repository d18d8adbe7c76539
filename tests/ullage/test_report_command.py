"""`ullage report`: the page of a plan as a file."""

from __future__ import annotations

from pathlib import Path

from tests import sound_plans
from tests.ullage.commands import ullage, write_plan
from ullage.views.html.report_page import report_page


def test_report_writes_the_page(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.shared())
    result = ullage("report", plan, "-o", tmp_path / "report.html")
    assert (result.code, result.out, result.err) == (0, f"wrote {tmp_path / 'report.html'}\n", "")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report_page(sound_plans.shared())


def test_a_plan_that_the_checker_refuses_gets_no_page(tmp_path: Path) -> None:
    plan = sound_plans.shared()
    wrong = plan.model_copy(update={"desired": plan.desired.model_copy(update={"cost_usd_per_h": 0.01})})
    result = ullage("report", write_plan(tmp_path / "plan.json", wrong), "-o", tmp_path / "report.html")
    assert (result.code, result.out) == (1, "")
    assert not (tmp_path / "report.html").exists()


def test_the_page_does_not_take_the_place_of_the_plan(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.shared())
    assert ullage("report", plan, "-o", plan).code == 1
    assert ullage("report", plan, "-o", tmp_path).code == 1
