"""The figures of a small study: as many scenarios as asked for, warm and cold at the same cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.whatif import main, study
from tests.ullage.commands import write_fleet
from ullage.study.scenarios import grid


@pytest.mark.parametrize(("most", "count"), [(60, 60), (12, 12), (4, 3), (2, 2), (1, 1)])
def test_a_study_has_no_more_scenarios_than_asked_for(most: int, count: int, tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet.yaml")
    assert len(list(grid(study(fleet, most).settings))) == count


def test_warm_and_cold_cost_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write_fleet(tmp_path / "fleet.yaml")
    assert main([str(fleet), "--scenarios", "6", "--workers", "1"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["scenarios"], found["unsolved"], found["workers"]) == (6, 0, 1)
    assert found["worst_cost_difference_fraction"] <= found["allowed_fraction"]


def test_no_scenarios_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenarios", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
