"""The benchmark of sizing prints its figures, for generated GPUs and for a fleet file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from benchmarks.sizing import Row, figures, judged_residents, main, planned, sized, verified
from benchmarks.sizing_grid import RESIDENTS, grid
from planner.plan import State
from tests.fleets import fleet_dict
from ullage.planning.plan import plan_fleet

TRACE = "arrival_s,input_tokens,output_tokens,tenant\n" + "".join(
    f"{index / 4},300,60,{('small', 'middle', 'large')[index % 3]}\n" for index in range(240)
)


def test_the_summary_line_has_every_number_of_residents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "sizing.svg"
    assert main(["--small", "--gpus", "3", "--seed", "2", "--svg", str(picture)]) == 0
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert len(lines) == 3 + 1 + 3 + 1
    assert {name: row["gpus"] for name, row in found["residents"].items()} == {"1": 2, "2": 1}
    assert found["all"]["gpus"] == 3
    for row in (*found["residents"].values(), found["all"]):
        if row["infeasible_fraction"] < 1:
            assert 0 < row["ratio_p10"] <= row["ratio_mean"] <= row["ratio_p90"] + 1e-9 <= 1.5 + 1e-9
            assert 0 <= row["above_fraction"] <= 1
            assert 0 < row["worst_attainment_fraction"] <= 1


def test_the_planned_load_is_the_largest_that_planning_serves() -> None:
    gpu = next(item for item in grid(4, 3, 0.01) if len(item.residents) == 2)
    found = sized(gpu)
    factor, plan = found.factor, planned(gpu, found.factor, verify=False)
    assert found.trials > 5
    assert not any(workload.unserved_rps for workload in plan.desired.workloads)
    more = plan_fleet(gpu.fleet(factor * 1.02), State()).plan
    assert any(workload.unserved_rps for workload in more.desired.workloads)
    residents = judged_residents(gpu, plan, factor)
    assert [item.load.rate_rps for item in residents] == pytest.approx([rate * factor for rate in gpu.rates_rps])
    assert len({item.engine.gpu_key for item in residents}) == 1
    # what was planned for bursts is judged with bursts
    declared = [workload.demand.windows[0].burstiness for workload in gpu.fleet(factor).workloads]
    assert declared == [item.load.mix.burstiness for item in residents]


def test_verified_plans_bear_more_than_sizing_alone_finds_and_keep_their_goals() -> None:
    gpu = next(item for item in grid(1, 1, 0.01))
    alone = sized(gpu).factor
    found = verified(gpu, alone)
    assert found.factor > alone
    rows = planned(gpu, found.factor, verify=True).desired.workloads
    assert all(item.fraction >= 0.99 for row in rows for item in row.simulated)
    assert not any(row.unserved_rps or row.best_effort for row in rows)


def test_the_grid_is_the_same_for_the_same_seed() -> None:
    found = list(grid(1, len(RESIDENTS), 0.01))
    assert found == list(grid(1, len(RESIDENTS), 0.01))
    assert found != list(grid(2, len(RESIDENTS), 0.01))
    assert tuple(len(gpu.residents) for gpu in found) == RESIDENTS
    for gpu in found:
        assert min(gpu.rates_rps) >= 0.01 * sum(gpu.rates_rps)
        assert len({item.model for item in gpu.residents}) == len(gpu.residents)


def test_ratios_are_capped_and_gpus_without_a_place_counted() -> None:
    rows = [
        Row(1, 1.0, 2.0, 1.0, 0.1, 1.0),
        Row(1, 1.0, 0.1, 0.5, 0.1, 1.0),
        Row(1, 1.0, 0.0, 0.2, 0.1, 1.0),
        Row(1, 0.0, None, None, 0.1, 0.0),
    ]
    assert [row.ratio for row in rows] == [0.5, 1.5, 1.5, None]
    found = figures(rows)
    assert (found["gpus"], found["infeasible_fraction"], found["ratio_mean"]) == (4, 0.25, pytest.approx(3.5 / 3, abs=1e-3))
    assert (found["above_fraction"], found["kept_fraction"]) == (pytest.approx(2 / 3, abs=1e-4), pytest.approx(1 / 3, abs=1e-4))
    assert figures(rows[3:])["infeasible_fraction"] == 1.0
    assert "ratio_mean" not in figures(rows[3:])


def test_a_fleet_file_is_planned_and_judged_under_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet, trace = tmp_path / "fleet.yaml", tmp_path / "trace.csv"
    fleet.write_text(yaml.safe_dump(fleet_dict()), encoding="utf-8")
    trace.write_text(TRACE, encoding="utf-8")
    assert main([str(fleet), "--trace", str(trace), "--repeat-rate", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert found["requests"] == 480
    assert found["unserved_rps"] == 0
    assert (found["gpus"], found["cost_usd_per_h"]) in {(1, 3.0), (2, 6.0)}
    assert (
        list(found["attainment"]) == [line.partition(":")[0] for line in lines[:3]] == ["nominal", "slow steps (p90)", "interference 1.3"]
    )
    assert found["attainment"]["nominal"]["attainment_fraction"] > 0.95
    off = found["attainment_when_off"]
    assert list(off) == ["rates 1.3 times as high", "rates 1.5 times as high", "steps 1.3 times as long", "steps 1.5 times as long"]
    assert list(off) == [line.partition(":")[0] for line in lines[3:7]]
    assert all(list(classes) == ["standard"] and 0 < classes["standard"] <= 1 for classes in off.values())
    assert off["steps 1.5 times as long"]["standard"] <= off["steps 1.3 times as long"]["standard"]
    assert 0 < found["breaking_factor_every"] <= found["breaking_factor"] <= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fleet.yaml"], "--trace belong together"),
        (["--trace", "trace.csv"], "--trace belong together"),
        (["absent.yaml", "--trace", "trace.csv"], "absent.yaml"),
        (["--gpus", "0"], "no whole number from 1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
