"""fleet.yaml's measurements: read, hashed, under the catalogue's names; faults have a place in the fleet file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from planner.spec import SpecError, load_fleet, starter
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from profiles.store.store_folder import store_files, write
from tests.profiles.points import point

FLEET = f"{starter()}\nmeasurements: ./measured\n"


def test_without_the_field_there_are_none(tmp_path: Path) -> None:
    assert load_fleet(tmp_path / "fleet.yaml", starter(), builtin()).measurements == Measurements()


def test_points_come_under_the_catalogues_names_and_files_are_hashed(tmp_path: Path) -> None:
    store = tmp_path / "measured"
    write(store, Measurements(latency=(point(model="llama-3.1-8b", gpu="h100"), point(gpu="abacus"))))
    fleet = load_fleet(tmp_path / "fleet.yaml", FLEET, builtin())
    assert {(one.model, one.gpu) for one in fleet.measurements.latency} == {
        ("meta-llama/Llama-3.1-8B", "H100-SXM-80GB"),
        ("meta-llama/Llama-3.1-8B", "abacus"),
    }
    for path in store_files(store):
        assert fleet.hashes[f"measured/{path.relative_to(store).as_posix()}"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(fleet.hashes) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("./measured", "there is no such folder of measurements"),
        ("''", "measurements"),
        ("[a]", "measurements"),
        ("3", "measurements"),
    ],
)
def test_a_folder_that_is_none(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_fleet(tmp_path / "fleet.yaml", f"{starter()}\nmeasurements: {value}\n", builtin())
    assert {problem.path for problem in caught.value.problems} == {"measurements"}


def test_every_file_that_is_wrong_is_reported(tmp_path: Path) -> None:
    store = tmp_path / "measured"
    store.mkdir()
    (store / "a.yaml").write_text("schema_version: 1\n")
    (store / "b.yaml").write_bytes(b"\xff")
    with pytest.raises(SpecError) as caught:
        load_fleet(tmp_path / "fleet.yaml", FLEET, builtin())
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 2
    assert all(": measurements: " in line for line in lines)
    assert "a.yaml: has none of latency, starts, pairs" in lines[0]
    assert "b.yaml: not UTF-8 text" in lines[1]
