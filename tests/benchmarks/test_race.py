"""The peers' problem: their cost without sharing, less with it; bad files are explained; numbers at the edge give answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instance import read_record
from benchmarks.race import figures, main
from benchmarks.race_model import read_race

FIXTURE = Path(__file__).parent / "fixtures" / "race_8.json"
# What the peers pay for this file, all three of them the same.
PEERS_USD_PER_H = 18.72
SHARED_USD_PER_H = 14.04


def run(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main([str(path), *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["violations"] == 0
    return found


def test_costs_are_the_peers_without_sharing_and_the_optimum_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(FIXTURE, capsys)
    assert found["no_share_cost_usd_per_h"] == pytest.approx(PEERS_USD_PER_H)
    assert found["cost_usd_per_h"] == pytest.approx(SHARED_USD_PER_H)
    assert found["cost_usd_per_h"] <= found["ffd_cost_usd_per_h"]
    assert found["gap_fraction"] <= 0.01
    assert found["unserved_rps"] == 0.0


def _written(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    race = json.loads(FIXTURE.read_text(encoding="utf-8"))
    change(race)
    path = tmp_path / "race.json"
    path.write_text(json.dumps(race), encoding="utf-8")
    return path


def test_a_rate_above_one_gpu_is_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _written(tmp_path, lambda it: it["models"][1].update(rate_rps=60.0))
    race = read_race(read_record(path))
    assert race.models[1].capacity_rps["A100"] < 60.0
    found = run(path, capsys, "--time-limit", "0.2")
    assert found["unserved_rps"] == 0.0
    assert found["cost_usd_per_h"] > SHARED_USD_PER_H


EDGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no GPUs of any type": lambda it: [gpu.update(count=0) for gpu in it["gpus"].values()],
    "larger than every GPU": lambda it: it["models"][0].update(weights_gib=500.0),
    "far too much": lambda it: it["models"][0].update(rate_rps=1e9),
    "impossible SLO": lambda it: it["models"][0].update(slo_itl_ms=0.001),
}


@pytest.mark.parametrize("edge", EDGES)
def test_what_cannot_be_served_is_counted(edge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(_written(tmp_path, EDGES[edge]), capsys, "--time-limit", "0.5")
    assert found["unserved_rps"] > 0
    assert found["cost_usd_per_h"] is None


def test_a_time_limit_of_zero_gives_an_answer_and_an_idle_race_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FIXTURE, capsys, "--time-limit", "0")["cost_usd_per_h"] <= PEERS_USD_PER_H
    idle = read_race(read_record(_written(tmp_path, lambda it: [model.update(rate_rps=0) for model in it["models"]])))
    assert figures(idle, 0.0)["cost_usd_per_h"] == 0.0


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no models": (lambda it: it.update(models=[]), "models: must not be empty"),
    "no rate": (lambda it: it["models"][2].pop("rate_rps"), "models[2].rate_rps: missing"),
    "NaN": (lambda it: it["models"][0].update(rate_rps=float("nan")), "models[0].rate_rps: must be a finite number, is nan"),
    "negative": (lambda it: it["gpus"]["A100"].update(cost=-1), "gpus.A100.cost: must not be negative"),
    "part of a GPU": (lambda it: it["gpus"]["A100"].update(count=1.5), "gpus.A100.count: must be a whole number"),
    "unknown GPU": (lambda it: it["models"][0]["perf"].update(B200={}), "models[0].perf.B200: not one of the GPU types"),
    "no output": (lambda it: it["models"][0].update(out=0), "models[0].out: must be above 0"),
    "twice": (lambda it: it["models"][1].update(name="m0-1b"), "models: a name stands there twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_explained(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, says = BAD[case]
    assert main([str(_written(tmp_path, change))]) == 2
    assert f"race.json: {says}" in capsys.readouterr().err


def test_a_file_cut_off_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "race.json"
    path.write_bytes(FIXTURE.read_bytes()[:1000])
    assert main([str(path)]) == 2
    assert "cut off" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["-1", "nan", "soon"])
def test_a_time_limit_must_be_a_number_of_seconds(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(FIXTURE), "--time-limit", limit])
    assert "is no number of seconds" in capsys.readouterr().err
