"""`ullage plan --frontier`: plans that no other one beats, how each is reached, and where nothing runs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from planner.plan import Plan, State
from planner.spec import Fleet
from tests.fleets import fleet, workload
from tests.ullage.commands import ullage, write_fleet, write_plan
from tests.ullage.scattered import SCATTERED, left, running, running_plan, written
from ullage.planning import frontier as searched
from ullage.planning.frontier import FrontierPoint, frontier, non_dominated
from ullage.planning.plan import Planned, plan_fleet

FIGURES = {
    "as_it_is",
    "cost_usd_per_h",
    "gpus_used",
    "loads_gib",
    "option",
    "outages",
    "stopped_replicas",
    "unavailable_s",
    "unserved_rps",
}


def beats(one: FrontierPoint, other: FrontierPoint) -> bool:
    cheaper = one.cost_usd_per_h <= other.cost_usd_per_h + 1e-9 and one.disturbs <= other.disturbs
    return cheaper and (one.cost_usd_per_h < other.cost_usd_per_h - 1e-9 or one.disturbs < other.disturbs)


@pytest.mark.parametrize("seed", [SCATTERED, 7])
def test_no_point_beats_another_and_the_ends_are_the_best_of_their_kind(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Plan] = []

    def kept(*arguments: object, **options: object) -> Planned:
        planned: Planned = plan_fleet(*arguments, **options)  # type: ignore[arg-type]
        tried.append(planned.plan)
        return planned

    monkeypatch.setattr(searched, "plan_fleet", kept)
    points = frontier(left(seed), running(seed))
    assert not any(beats(one, other) for one in points for other in points)
    assert all(one.cost_usd_per_h < other.cost_usd_per_h and one.disturbs > other.disturbs for one, other in pairwise(points))
    everything = [FrontierPoint("", plan) for plan in tried]
    assert points[0].cost_usd_per_h == pytest.approx(min(point.cost_usd_per_h for point in everything))
    assert points[-1].disturbs == min(point.disturbs for point in everything)
    assert {point.unserved_rps for point in points} == {min(point.unserved_rps for point in everything)}


def test_the_option_of_a_line_gets_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path / "before.json", running_plan(SCATTERED))
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(written(SCATTERED)), encoding="utf-8")
    result = ullage("plan", "--frontier", "--prior", "before.json", "--json")
    assert (result.code, result.err) == (0, "")
    told = json.loads(result.out)
    assert told["nothing_runs"] is False
    assert [point["as_it_is"] for point in told["points"]] == [True, False]
    for point in told["points"]:
        assert set(point) == FIGURES
        path, value = yaml.safe_load(point["option"]).popitem()
        section, option = path.split(".")
        file.write_text(yaml.safe_dump(written(SCATTERED) | {section: {option: value}}), encoding="utf-8")
        again = ullage("plan", "--no-verify", "--prior", "before.json", "--json")
        figures = json.loads(again.out)
        assert figures["cost_usd_per_h"] == point["cost_usd_per_h"]
        assert {name: item["unavailable_s"] for name, item in figures["outages"].items()} == point["outages"]


@pytest.mark.parametrize(
    ("goals", "as_it_is"), [([], [True, False]), (["churn"], [False, True]), (["cost + 0.01 churn"], [False, False])], ids=str
)
def test_a_line_is_planned_as_if_it_were_alone(goals: list[str], as_it_is: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    fleets: list[Fleet] = []

    def kept(spec: Fleet, *arguments: object, **options: object) -> Planned:
        fleets.append(spec)
        planned: Planned = plan_fleet(spec, *arguments, **options)  # type: ignore[arg-type]
        return planned

    monkeypatch.setattr(searched, "plan_fleet", kept)
    points = frontier(left(SCATTERED, goals=goals), running(SCATTERED))
    alone = [plan_fleet(spec, running(SCATTERED)).plan.desired.replicas for spec in fleets]
    assert all(point.plan.desired.replicas in alone for point in points)
    by_option = {point.option: point for point in points}
    assert len(by_option) == len(points)
    assert [point.as_it_is for point in points] == as_it_is
    named = all("policy.goals: [" in option for option in by_option)
    assert named is bool(goals)


def test_the_table_names_costs_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path / "before.json", running_plan(SCATTERED))
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(written(SCATTERED)), encoding="utf-8")
    result = ullage("plan", "--frontier", "--prior", "before.json")
    assert (result.code, result.err) == (0, "")
    assert (
        "  3.00   1     14.2         1                 0                    0.00        policy.cost_slack_fraction: 0 (or as the file is)\n"
        in result.out
    )
    assert "  6.00   2     0.0          0  " in result.out
    assert "No plan was simulated here." in result.out
    assert "write its option into the fleet file" in result.out


def test_where_nothing_runs_there_is_one_line(work: Path) -> None:
    result = ullage("plan", "--frontier")
    assert (result.code, result.err) == (0, "")
    assert "Nothing runs, so there is nothing to disturb" in result.out
    assert "policy" not in result.out
    told = json.loads(ullage("plan", "--frontier", "--json", "--verify").out)
    assert (told["nothing_runs"], len(told["points"])) == (True, 1)
    assert ullage("plan", "--frontier", "--verify").out.count("simulated") == 0


def test_what_wants_one_plan_is_refused(work: Path) -> None:
    result = ullage("plan", "--frontier", "-o", "new.json", "--explain")
    assert result.code == 1
    assert result.err.startswith("error: --frontier prints a table of plans and not one plan: leave out -o and --explain; ")
    assert not (work / "new.json").exists()
    assert "--detailed-exitcode" in ullage("plan", "--frontier", "--detailed-exitcode").err


def test_a_state_that_cannot_be_read_is_an_error(work: Path) -> None:
    (work / ".ullage").mkdir()
    (work / ".ullage" / "state.json").write_text("{", encoding="utf-8")
    result = ullage("plan", "--frontier")
    assert result.code == 1
    assert "state.json" in result.err


def test_unserved_demand_ends_with_3_where_that_is_asked(work: Path) -> None:
    write_fleet(work / "fleet.yaml", workloads={"large": workload("large", rate="500/s")})
    assert ullage("plan", "--frontier", "--fail-on-unserved", "--prior", "plan.json").code == 3


def test_demand_that_is_served_counts_before_cost() -> None:
    spec = fleet()
    full = plan_fleet(spec, State()).plan
    row = full.desired.workloads[0]
    rows = (row.model_copy(update={"unserved_rps": 0.5}), *full.desired.workloads[1:])
    cheap = full.model_copy(update={"desired": full.desired.model_copy(update={"workloads": rows, "cost_usd_per_h": 0.0})})
    points = non_dominated([FrontierPoint("cheap", cheap), FrontierPoint("full", full), FrontierPoint("twin", full)])
    assert [point.option for point in points] == ["full"]
    assert non_dominated([]) == ()


def test_churn_before_cost_may_cost_more_than_a_simpler_method() -> None:
    spec = left(SCATTERED, goals=["churn"])
    plan = plan_fleet(spec, running(SCATTERED)).plan
    certificate = plan.desired.certificate
    assert (plan.desired.cost_usd_per_h, certificate.baselines["best-fit"].cost_usd_per_h) == (6.0, 3.0)
    assert certificate.kept
    assert plan.churn is not None
    assert plan.churn.value == 0.0
