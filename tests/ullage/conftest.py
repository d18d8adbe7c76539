"""One planned fleet for all tests that only read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ullage.commands import ullage, write_fleet, write_trace


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fleet.yaml, plan.json made from it and trace.csv of its three workloads. Only to be read."""
    folder = tmp_path_factory.mktemp("planned")
    write_fleet(folder / "fleet.yaml")
    write_trace(folder / "trace.csv", "small", "middle", "large")
    result = ullage("plan", folder / "fleet.yaml", "-o", folder / "plan.json")
    assert result.code == 0, result.err
    return folder


@pytest.fixture
def work(planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the planned folder to work in: the current folder of the test."""
    folder = tmp_path / "work"
    shutil.copytree(planned, folder)
    monkeypatch.chdir(folder)
    return folder
