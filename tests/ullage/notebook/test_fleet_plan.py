"""What an analyst does with a plan: the same answers as the command line, as values."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from planner.plan import as_applied, plan_from_json
from planner.transitions.diff import diff
from renderers.manifest import RenderError
from tests.plans import time_shared_plan
from tests.ullage.commands import ullage
from ullage.checking import CheckError
from ullage.notebook.fleet_plan import FleetPlan, open_plan
from ullage.notebook.plan_diff import diff_of
from ullage.notebook.printed import PrintedText
from ullage.views.tables.plan_tables import COLUMNS, plan_rows


def test_figures_are_those_of_the_document(plan: FleetPlan) -> None:
    desired = plan.document.desired
    assert (plan.cost_usd_per_h, plan.gpus_used) == (desired.cost_usd_per_h, desired.gpus_used)
    assert plan.unserved_rps == sum(item.unserved_rps for item in desired.workloads)
    assert plan.gap_fraction == 0.0
    [first, *rest] = desired.certificate.tiers
    loose = first.model_copy(update={"gap_fraction": 0.25})
    certificate = desired.certificate.model_copy(update={"tiers": (loose, *rest)})
    gap = plan.document.model_copy(update={"desired": desired.model_copy(update={"certificate": certificate})})
    assert FleetPlan(gap).gap_fraction == 0.25


def test_it_is_a_value(plan: FleetPlan, planned: Path) -> None:
    again = open_plan(str(planned / "plan.json"))
    assert plan == again
    assert len({plan, again}) == 1
    assert plan != FleetPlan(time_shared_plan())
    assert plan != "plan"
    assert FleetPlan(plan.document, solve_s=1.0) == plan
    with pytest.raises(FrozenInstanceError):
        plan.solve_s = 2.0  # type: ignore[misc]


def test_it_says_what_it_is_in_a_line_and_all_of_it_when_printed(plan: FleetPlan, planned: Path) -> None:
    assert repr(plan).startswith("<FleetPlan: 1 of 2 GPUs, ")
    assert "\n" not in repr(plan)
    assert "solve" not in repr(FleetPlan(plan.document, solve_s=123.5)).replace("solver", "")
    assert str(plan) == ullage("show", planned / "plan.json").out


@pytest.mark.parametrize("kind", COLUMNS)
def test_frames_are_the_tables(plan: FleetPlan, kind: str) -> None:
    found = plan.to_frame(kind)
    assert list(found.columns) == list(COLUMNS[kind])
    assert len(found) == len(plan_rows(plan.document, kind)) > 0


def test_an_unknown_kind_or_target_or_subject_is_named(plan: FleetPlan) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'workloads'\?"):
        plan.to_frame("workload")
    with pytest.raises(ValueError, match=r"'vlm' is not one of the renderers: compose, envoy"):
        plan.render("vlm")
    with pytest.raises(ValueError, match=r"the plan has no workload, model, replica, node or GPU 'nobody'"):
        plan.explain("nobody")


def test_explanations_are_those_of_the_command(plan: FleetPlan, planned: Path) -> None:
    for subject in (None, "small"):
        found = plan.explain(subject)
        assert isinstance(found, PrintedText)
        assert found == ullage("explain", planned / "plan.json", *([] if subject is None else [subject])).out
        assert repr(found) == str(found)


def test_a_plan_without_changes_has_no_actions(plan: FleetPlan) -> None:
    found = plan.diff(plan)
    assert (found.actions, found.usd_per_h, found.unserved_rps) == ((), 0.0, 0.0)
    assert "No actions: both plans run the same replicas in the same places." in str(found)
    assert found.to_frame().empty


def test_a_difference_is_what_apply_would_do(plan: FleetPlan) -> None:
    desired = plan.document.desired
    fewer = desired.model_copy(
        update={"replicas": desired.replicas[1:], "routes": desired.routes[1:], "cost_usd_per_h": desired.cost_usd_per_h - 1.0}
    )
    other = FleetPlan(plan.document.model_copy(update={"desired": fewer}))
    found = plan.diff(other)
    assert found.actions == diff(as_applied(plan.document), fewer)
    assert found.usd_per_h == pytest.approx(-1.0)
    assert (found.before_usd_per_h, found.after_usd_per_h) == (plan.cost_usd_per_h, other.cost_usd_per_h)
    assert list(found.to_frame()["action"]) == [action.kind for action in found.actions]
    # a replica that goes is known from the plan before
    stops = [row for _, row in found.to_frame().iterrows() if row["action"] == "stop"]
    assert [row["served_name"] for row in stops] == [desired.replicas[0].served_name]
    assert repr(found) == f"<PlanDiff: {len(found.actions)} actions, -1.00 USD/h>"
    assert str(found).startswith("before: 1 of 2 GPUs, ")
    assert f"- stop {desired.replicas[0].name}" in str(found)
    assert diff_of(other.document, plan.document).usd_per_h == pytest.approx(1.0)


def test_rendered_files_are_those_of_the_command(plan: FleetPlan, planned: Path, tmp_path: Path) -> None:
    assert ullage("render", planned / "plan.json", "--to", "vllm", "-o", tmp_path / "command").code == 0
    manifest = plan.render("vllm", tmp_path / "api")
    for file in manifest:
        assert (tmp_path / "api" / file.path).read_bytes() == (tmp_path / "command" / file.path).read_bytes()
    assert plan.render("vllm") == manifest
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(RenderError, match="file"):
        plan.render("vllm", tmp_path / "file")


def test_a_saved_plan_is_the_file_of_the_command(plan: FleetPlan, planned: Path, tmp_path: Path) -> None:
    target = plan.save(tmp_path / "again.json")
    assert target.read_bytes() == (planned / "plan.json").read_bytes()
    assert open_plan(target) == plan
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; make it first"):
        plan.save(tmp_path / "nowhere" / "plan.json")
    with pytest.raises(ValueError, match="is a folder; name a file"):
        plan.save(str(tmp_path))


def test_an_unsound_plan_is_not_opened(planned: Path, tmp_path: Path) -> None:
    document = json.loads((planned / "plan.json").read_text(encoding="utf-8"))
    document["desired"]["replicas"][0]["ledger"]["weights_mib"] += 1
    (tmp_path / "plan.json").write_text(json.dumps(document), encoding="utf-8")
    assert plan_from_json(json.dumps(document), "plan.json").desired.replicas
    with pytest.raises(CheckError, match=r"plan\.json: "):
        open_plan(tmp_path / "plan.json")
    with pytest.raises(ValueError, match=r"there is no such file; .*ullage plan"):
        open_plan(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"--fleet-folder .*there is no such folder"):
        open_plan(planned / "plan.json", tmp_path / "none")


def test_names_are_escaped(hostile: FleetPlan, plan: FleetPlan) -> None:
    shown = [
        hostile._repr_html_(),
        hostile.explain()._repr_html_(),
        plan.diff(hostile)._repr_html_(),
        diff_of(hostile.document, plan.document)._repr_html_(),
    ]
    for html in shown:
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_only_plans_are_compared(plan: FleetPlan) -> None:
    for other in (3, "plan.json"):
        with pytest.raises(ValueError, match="is no plan"):
            plan.diff(other)  # type: ignore[arg-type]
