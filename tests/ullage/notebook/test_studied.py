"""`ullage.whatif`: the studies of the command line as values with frames, figures and plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ullage
from tests.fleets import fleet_dict
from tests.ullage import commands
from ullage.notebook.studied import Study
from ullage.study.study_folder import read_results

SCRIPT = "<script>alert(1)</script>"


def test_it_is_the_study_of_the_command(work: Path) -> None:
    settings = {"pools.h100.nodes": range(1, 3), "workloads.small.rate": ["x1", "x2"]}
    found = ullage.whatif("fleet.yaml", settings, scenarios=[{"demand": "x2"}], workers=1)
    told = commands.ullage(
        "whatif",
        "fleet.yaml",
        "--set",
        "pools.h100.nodes=1..2",
        "--set",
        "workloads.small.rate=x1,x2",
        "--scenario",
        "demand=x2",
        "-o",
        "s",
        "--state",
        "none",
    )
    assert told.code == 0, told.err
    assert read_results(work / "s") == found.results
    assert str(found) in told.out


def test_frames_have_a_row_per_scenario_and_their_settings(study: Study) -> None:
    table = study.to_frame()
    assert list(table["scenario"]) == ["as declared", "pools.h100.nodes=1", "pools.h100.nodes=2"]
    assert list(table["pools.h100.nodes"][1:]) == ["1", "2"]
    assert list(table["gpus_total"]) == [2, 2, 4]
    assert list(study.pareto()["scenario"]) == ["as declared"]
    assert study.best("gpus_used").scenario == "as declared"


def test_a_scenarios_plan_is_made_again(study: Study) -> None:
    plan = study.plan("pools.h100.nodes=2")
    assert len(plan.document.desired.gpus) == 4
    assert plan.cost_usd_per_h == study.rows[2].cost_usd_per_h
    with pytest.raises(ValueError, match=r"did you mean 'pools.h100.nodes=2'"):
        study.plan("pools.h100.nodes=22")


def test_named_scenarios_and_a_plan_that_runs(work: Path) -> None:
    plan = ullage.open_plan("plan.json")
    fleet = ullage.load("fleet.yaml")
    study = ullage.whatif(fleet, scenarios=[{"name": "node gone", "node_lost": "h100-0"}], prior=plan, workers=1)
    assert [row.scenario for row in study.rows] == ["as declared", "node gone"]
    assert study.rows[0].loads_gib == 0
    assert study.rows[1].lost_at_once_rps


def test_scenarios_may_be_said_as_on_the_command_line(work: Path) -> None:
    for scenarios in ("demand=x2", ["demand=x2"], {"demand": "x2"}, [{"demand": "x2"}]):
        study = ullage.whatif("fleet.yaml", scenarios=scenarios, workers=1)
        assert [row.scenario for row in study.rows] == ["as declared", "demand=x2"]


def test_a_study_is_saved_and_goes_on(work: Path) -> None:
    first = ullage.whatif("fleet.yaml", {"pools.h100.nodes": [1, 2]}, workers=1, out="s")
    assert ullage.whatif("fleet.yaml", {"pools.h100.nodes": [1, 2]}, workers=1, out="s") == first
    assert sorted(path.name for path in (work / "s").iterdir()) >= ["rows.jsonl", "study.csv", "study.json", "study.parquet"]
    assert first.save("t") == Path("t")


def test_figures_are_drawn_also_where_nothing_is_solved(study: Study) -> None:
    figure = study.plot()
    assert len(figure.axes) == 2
    bars = figure.axes[0].patches
    assert len(bars) == 3
    nothing = ullage.whatif(ullage.fleet(fleet_dict(), "."), {"pools.h100.gpu": ["X1"]}, workers=1)
    assert nothing.plot()
    # pytest turns warnings into errors
    assert Study(nothing.results.model_copy(update={"rows": ()}), nothing.question).plot()
    assert "no plan" in str(nothing)


def test_hostile_names_are_inert() -> None:
    fleet = ullage.fleet(fleet_dict())
    study = ullage.whatif(fleet, {"workloads.small.team": [SCRIPT, "'; --"]}, scenarios=[{"name": SCRIPT, "demand": "x2"}], workers=1)
    assert SCRIPT not in study._repr_html_()
    assert "&lt;script&gt;" in study._repr_html_()


@pytest.mark.parametrize(
    ("settings", "scenarios", "told"),
    [
        ({"pools.h10.nodes": [1]}, [], "did you mean 'h100'"),
        ({"pools.h100.nodes": []}, [], "there are no values"),
        ({}, [], "a study varies something"),
        ({}, [{"node_lst": "h100-0"}], "did you mean 'node_lost'"),
        ({}, [{"name": "x"}], "a scenario says nothing"),
        ({}, [3], "is no scenario"),
        ({}, ["demand"], "write KIND=VALUE"),
    ],
)
def test_what_cannot_be_studied_is_refused(settings: dict[str, object], scenarios: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ullage.whatif(ullage.fleet(fleet_dict()), settings, scenarios=scenarios)
