"""What is part of a question and of its answer: files, lost nodes, limits, names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from planner.plan import State, as_applied
from tests.fleets import fleet_dict, workload
from tests.ullage.study.studied import spec
from ullage.fleet_spec import fleet
from ullage.planning.plan import plan_fleet
from ullage.study.named import scenario
from ullage.study.question import StudyQuestion
from ullage.study.rows import row_of
from ullage.study.scenarios import BASE, Scenario
from ullage.study.solve import StudyOptions
from ullage.study.study_folder import StudyFolder
from ullage.study.study_run import run_study
from ullage.views.study.study_files import study_table
from ullage.views.study.study_text import study_text


def test_a_rented_node_that_is_lost_takes_its_replicas_with_it() -> None:
    base = (
        spec()
        .set("pools.h100.ownership", "rentable")
        .set("pools.h100.max_nodes", 3)
        .set("pools.h100.hosts", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    )
    running = plan_fleet(base.resolved(), State()).plan
    lost = scenario(base, {"node_lost": "h100-0"})
    assert lost.applied(base).get("pools.h100.hosts") == ["10.0.0.2", "10.0.0.3"]
    question = StudyQuestion(base, named=(lost, scenario(base, {"node_lost": "h100-2"})), state=as_applied(running))
    found = run_study(question, workers=1).rows
    assert found[0].loads_gib == found[2].loads_gib == 0
    assert found[1].loads_gib is not None
    assert found[1].loads_gib > 0
    assert set(found[1].lost_at_once_rps) == {"small", "middle", "large"}
    assert found[2].lost_at_once_rps == {}


def test_files_that_a_scenario_names_are_part_of_the_question(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    declared = fleet_dict()
    declared["workloads"]["small"] = {**workload("small"), "demand": {"trace": "t.csv"}}

    def cost(rows_per_s: int) -> float | None:
        rows = "".join(f"{second / rows_per_s},300,150\n" for second in range(120 * rows_per_s))
        (tmp_path / "other.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
        asked = StudyQuestion(fleet(declared, tmp_path), {"workloads.small.trace": ("other.csv",)})
        return run_study(asked, workers=1, folder=StudyFolder(tmp_path / "s")).rows[1].unserved_rps

    trace.write_text("arrival_s,input_tokens,output_tokens\n0,300,150\n60,300,150\n")
    assert cost(1) == 0
    assert cost(200) != 0


def test_what_had_no_plan_is_tried_again(tmp_path: Path) -> None:
    declared = fleet_dict()
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,300,150\n60,300,150\n")
    declared["workloads"]["small"] = {**workload("small"), "demand": {"trace": "t.csv"}}
    asked = StudyQuestion(fleet(declared, tmp_path), {"workloads.small.trace": ("later.csv",)})
    folder = StudyFolder(tmp_path / "s")
    assert not run_study(asked, workers=1, folder=folder).rows[1].solved
    (tmp_path / "later.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    assert run_study(asked, workers=1, folder=folder).rows[1].solved


def test_a_node_of_a_pool_that_the_scenario_brings_may_be_lost() -> None:
    base = spec()
    lost = scenario(base, {"offer": {"gpu": "L40S", "nodes": 2}, "node_lost": "offered-l40s-1"})
    assert run_study(StudyQuestion(base, named=(lost,)), workers=1).rows[1].gpus_total == 2 + 8


def test_a_broken_fleet_that_scenarios_mend_is_asked_with_their_files(tmp_path: Path) -> None:
    declared = fleet_dict()
    declared["pools"]["h100"]["nodes"] = 0
    declared["workloads"]["small"] = {**workload("small"), "demand": {"trace": "t.csv"}}

    def keys(rows: str) -> str:
        (tmp_path / "t.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
        asked = StudyQuestion(fleet(declared, tmp_path), {"pools.h100.nodes": (1,)})
        return asked.keys("")(next(asked.scenarios()))

    assert keys("0,300,150\n60,300,150\n") != keys("0,300,150\n60,300,151\n")


def test_growth_that_breaks_is_that_of_the_formulas_simulated_or_not() -> None:
    plain = plan_fleet(spec().resolved(), State()).plan
    rows = plain.desired.workloads
    kept = tuple(row.model_copy(update={"kept_load_factor": 3.0}) for row in rows)
    simulated = plain.model_copy(update={"desired": plain.desired.model_copy(update={"workloads": kept})})
    found = [row_of(Scenario(BASE), plan).breaks_at_load_factor for plan in (plain, simulated)]
    assert found[0] == found[1] == min(row.breaking.demand_factor or 99 for row in rows if row.breaking is not None)


@pytest.mark.parametrize("limit_s", [float("inf"), float("nan"), -1.0, "5"])
def test_a_limit_that_is_none_is_refused_before_anything_is_solved(limit_s: Any) -> None:
    with pytest.raises(ValueError, match="give seconds, 0 or more"):
        StudyOptions(time_limit_s=limit_s)


def test_paths_with_terminal_codes_are_shown_as_text() -> None:
    asked = StudyQuestion(spec(), {"workloads.small.labels.\x1b[31mevil": ("a",)})
    found = run_study(asked, workers=1)
    assert "\x1b" not in study_text(found)
    assert r"\x1b[31mevil" in found.settings[0]
    assert study_table(found)[1][found.settings[0]] == "a"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_rows_are_added_to_no_file_of_others(kind: str, tmp_path: Path) -> None:
    rows = tmp_path / "s" / "rows.jsonl"
    rows.parent.mkdir()
    (tmp_path / "precious").write_text("x")
    rows.symlink_to(tmp_path / "precious") if kind == "link" else os.mkfifo(rows)
    with pytest.raises(ValueError, match="is a link or no regular file"):
        StudyFolder(rows.parent).prepare()
    assert (tmp_path / "precious").read_text() == "x"
