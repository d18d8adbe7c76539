"""`ullage.plan`: the plan of the command line, for a fleet of a file or of values."""

from __future__ import annotations

from pathlib import Path

import pytest

import ullage
from tests.fleets import fleet_dict
from tests.ullage import commands
from ullage.notebook.fleet_plan import FleetPlan, open_plan


def test_it_is_the_plan_of_the_command(work: Path) -> None:
    found = ullage.plan("fleet.yaml")
    assert found == open_plan("plan.json")
    assert found.solve_s is not None
    assert found.solve_s > 0
    assert ullage.plan(ullage.load(work / "fleet.yaml")) == found


def test_a_fleet_of_values_needs_no_file(work: Path) -> None:
    fleet = ullage.fleet(fleet_dict(), work)
    found = ullage.plan(fleet, verify=False)
    assert found.gpus_used == 1
    fuller = ullage.plan(fleet.set("workloads.large.demand.rate", "x20"), verify=False)
    assert fuller.gpus_used + fuller.unserved_rps > found.gpus_used
    assert found.diff(fuller).usd_per_h == fuller.cost_usd_per_h - found.cost_usd_per_h


def test_a_plan_before_it_is_what_runs(work: Path) -> None:
    first = open_plan("plan.json")
    for prior in (first, "plan.json", work / "plan.json"):
        assert ullage.plan("fleet.yaml", prior=prior).document.actions == ()
    assert first.document.actions
    assert commands.ullage("plan", "--prior", "plan.json", "-o", "again.json").code == 0
    assert ullage.plan("fleet.yaml", prior=first) == open_plan("again.json")


def test_wrong_input_is_named(work: Path) -> None:
    with pytest.raises(ValueError, match="prior and state contradict each other"):
        ullage.plan("fleet.yaml", state="s", prior="plan.json")
    with pytest.raises(ValueError, match="there is no such file"):
        ullage.plan("none.yaml")
    with pytest.raises(ValueError, match="'simplex' is not one of the solvers"):
        ullage.plan("fleet.yaml", solver="simplex")
    with pytest.raises(ValueError, match=r"workloads\.large\.demand"):
        ullage.plan(ullage.load("fleet.yaml").set("workloads.large.demand.rate", "many"))


def test_local_models_are_found_from_the_fleet_s_folder_and_measurements_are_kept(work: Path) -> None:
    found = ullage.plan("fleet.yaml", verify=False)
    assert isinstance(found, FleetPlan)
    assert found.simulate(seconds=10).warning is None
