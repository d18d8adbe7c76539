"""`ullage report`: the page of a plan as a file."""

from __future__ import annotations

from pathlib import Path

from tests import sound_plans
from tests.ullage.commands import ullage, write_plan
from tests.ullage.views.drawn_studies import grid_study
from ullage.views.html.plan.report_page import report_page
from ullage.views.html.study.study_page import study_page
from ullage.views.study.study_files import write_study


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


def test_a_study_becomes_a_page_from_its_folder_and_from_its_file(tmp_path: Path) -> None:
    study = grid_study(20, 5)
    folder = tmp_path / "study"
    folder.mkdir()
    write_study(folder, study)
    for source in (folder, folder / "study.json"):
        result = ullage("report", source, "-o", tmp_path / "report.html")
        assert (result.code, result.err) == (0, "")
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == study_page(study)
        assert ullage("report", source, "-o", folder / "study.json").code == 1


def test_what_is_neither_plan_nor_study_is_refused(tmp_path: Path) -> None:
    empty = ullage("report", tmp_path, "-o", tmp_path / "report.html")
    assert (empty.code, "holds no study.json; expected a plan file, or the folder" in empty.err) == (1, True)
    (tmp_path / "study.json").write_text('{"rows": 3}', encoding="utf-8")
    broken = ullage("report", tmp_path / "study.json", "-o", tmp_path / "report.html")
    assert (broken.code, "is it a study?" in broken.err) == (1, True)
    (tmp_path / "text.json").write_text("[" * 100_000, encoding="utf-8")
    assert ullage("report", tmp_path / "text.json", "-o", tmp_path / "report.html").code == 1
    assert not (tmp_path / "report.html").exists()
