"""Generated fleets: the same arguments give the same fleet, every kind of constraint reaches the Problem, the figures are judged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import best_plans
from benchmarks.scale import main
from benchmarks.scale_curve import Point, curve_svg
from benchmarks.scale_fleet import KINDS, LOAD_FRACTION, read_clients, scale_fleet
from benchmarks.scale_memory import TreePeak
from planner.plan import State
from planner.problem import Problem
from planner.sizing.blueprint import build


def problem(gpus: int, models: int, seed: int, kinds: tuple[str, ...] = ()) -> Problem:
    return build(scale_fleet(gpus, models, seed, kinds), State()).problem


def test_figures_of_a_small_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8", "--models", "6", "--seed", "1", "--time-limit", "0.5"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["gpus"], found["models"], found["violations"], found["unserved_rps"]) == (8, 6, 0, 0.0)
    assert 0 <= found["bound"] <= found["cost"]
    assert 0 <= found["gap_fraction"] <= 1
    assert found["peak_mib"] > 0
    assert found["baselines"].keys() == {"exclusive", "first-fit-decreasing", "best-fit", "squishy"}
    for baseline in found["baselines"].values():
        assert baseline.keys() == {"cost", "unserved", "seconds"}
        assert (found["unserved_rps"], found["cost"]) <= (baseline["unserved"], baseline["cost"])


def test_a_run_is_compared_with_the_best_plan_known_and_remembered_where_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "best_known.json"
    table.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(best_plans, "TABLE", table)

    def gap(engine: str, *more: str) -> float | None:
        assert main(["--gpus", "8", "--models", "6", "--seed", "1", "--engines", engine, *more]) == 0
        found: float | None = json.loads(capsys.readouterr().out.splitlines()[-1])["gap_to_best_known_fraction"]
        return found

    assert gap("exclusive") is None
    assert table.read_text(encoding="utf-8") == "{}"
    assert gap("exclusive", "--remember") is None
    first = best_plans.read_known(table, "8/6/1/none")
    assert first is not None
    assert gap("exclusive", "--remember") == 0.0
    assert (gap("quick", "--remember") or 0.0) < 0.0
    best = best_plans.read_known(table, "8/6/1/none")
    assert best is not None
    assert best.goals < first.goals
    written = table.read_bytes()
    assert (gap("exclusive", "--remember") or 0.0) > 0.0
    assert table.read_bytes() == written


def test_gaps_to_known_plans_are_those_of_the_first_goal_that_differs() -> None:
    plan = best_plans.KnownPlan((0.0, 2.0), 10.0)
    assert best_plans.gap_fraction(plan, None) is None
    assert best_plans.gap_fraction(plan, plan) == 0.0
    assert best_plans.gap_fraction(plan, best_plans.KnownPlan((0.0, 2.0), 9.0)) == 0.1
    assert best_plans.gap_fraction(plan, best_plans.KnownPlan((0.0, 1.0), 90.0)) == 0.5
    assert best_plans.gap_fraction(plan, best_plans.KnownPlan((3.0, 0.0), 1.0)) == -1.0
    assert best_plans.key_of(8, 6, 1, ()) == "8/6/1/none"
    assert best_plans.key_of(8, 6, 1, ("taken", "pins")) == "8/6/1/pins,taken"


def test_a_damaged_table_of_known_plans_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "best_known.json"
    table.write_text('{"8/6/1/none": {"cost_usd_per_h": 1, "unserved_rps": [0, "many"]}}', encoding="utf-8")
    monkeypatch.setattr(best_plans, "TABLE", table)
    assert main(["--gpus", "8", "--models", "6", "--seed", "1"]) == 2
    assert "best_known.json: 8/6/1/none.unserved_rps[1]: must be a finite number" in capsys.readouterr().err


def test_every_kind_of_constraint_reaches_the_problem() -> None:
    first = problem(128, 16, 3, KINDS)
    assert first == problem(128, 16, 3, KINDS)
    assert sum(pool.gpus for pool in first.pools) == 128
    assert {pool.billing for pool in first.pools} == {"gpu", "node"}
    assert any(pool.min_nodes for pool in first.pools)
    assert any(pool.machines for pool in first.pools)
    assert any(pool.mig_layouts for pool in first.pools)
    assert {shape.gpus for shape in first.shapes} == {1, 2, 4, 8}
    assert {shape.mode for shape in first.shapes} >= {"exclusive", "time_shared", "mig"}
    assert len({demand.priority for demand in first.demands}) > 1
    assert any(demand.not_with for demand in first.demands)
    assert any(demand.tolerate_nodes for demand in first.demands)
    assert any(demand.min_replicas == 2 for demand in first.demands)
    assert any(demand.max_replicas < 1000 for demand in first.demands)
    served_from = [{shape.pool for shape in first.shapes if shape.demand == i} for i in range(len(first.demands))]
    mig = {i for i, pool in enumerate(first.pools) if pool.mig_layouts}
    assert any(pools and not pools & mig for pools in served_from)
    plain = problem(128, 16, 3)
    assert not any(demand.not_with or demand.tolerate_nodes for demand in plain.demands)
    assert plain != problem(128, 16, 4)


@pytest.mark.parametrize("gpus", [8, 12, 60, 64, 100, 200, 2000, 20000])
def test_fleets_have_the_gpus_asked_for(gpus: int) -> None:
    fleet = scale_fleet(gpus, 1, 0)
    assert sum(pool.max_nodes * pool.gpus_per_node for pool in fleet.pools) == gpus
    assert len(fleet.pools) >= 2


def test_clients_are_real_ones_and_load_is_a_part_of_capacity() -> None:
    assert len(read_clients()) > 200
    assert all(client.input_mean_tokens <= client.input_p99_tokens for client in read_clients())
    assert 0 < LOAD_FRACTION < 1


@pytest.mark.parametrize("arguments", [["--gpus", "7"], ["--gpus", "4"], ["--models", "0"]])
def test_sizes_that_make_no_fleet_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "give a multiple of 4 GPUs" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--engines", "magic"], ["--constraints", "magic"], ["--time-limit", "nan"], ["--gpus", "many"]])
def test_options_that_mean_nothing_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[1] in capsys.readouterr().err


def test_the_curve_is_a_picture_of_its_points(tmp_path: Path) -> None:
    points = [Point(8, 0.5, 80, 0.0), Point(20000, 21.0, 700, 0.002)]
    path = tmp_path / "curve.svg"
    path.write_text(curve_svg(points), encoding="utf-8")
    texts = [element.text for element in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert {"seconds", "peak memory, MiB", "gap, %", "8", "20,000", "21", "700", "0.2"} <= set(texts)
    assert "polyline" in curve_svg(points[:1])


def test_memory_of_the_process_tree_is_at_least_its_own() -> None:
    with TreePeak(os.getpid()) as memory:
        held = bytearray(64 * 1024 * 1024)
    assert memory.peak_mib > len(held) // 1024**2
