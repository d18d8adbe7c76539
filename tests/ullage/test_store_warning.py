"""Who simulates or emulates a plan with other measurements than it was made with is told so."""

from __future__ import annotations

from pathlib import Path

from profiles.store.measurements import Measurements
from profiles.store.store_folder import write
from tests.profiles.points import point
from tests.ullage.commands import ullage, write_fleet, write_trace

REST = "the plan rests on measurements and none are given"


def test_simulate_warns_of_other_measurements_than_the_plans(tmp_path: Path) -> None:
    for name, tpot_s in (("own", 0.02), ("other", 0.03)):
        write(tmp_path / name, Measurements(latency=(point(gpu="H100-SXM-80GB", tpot_s=tpot_s),)))
    fleet = write_fleet(tmp_path / "fleet.yaml", measurements="./own")
    assert ullage("plan", fleet, "-o", tmp_path / "plan.json").code == 0
    simulate = ("simulate", tmp_path / "plan.json", "--trace", write_trace(tmp_path / "trace.csv", "small", "middle"))
    assert ullage(*simulate, "--store", tmp_path / "own").err == ""
    assert REST in ullage(*simulate).err
    assert "--store holds other measurements" in ullage(*simulate, "--store", tmp_path / "other").err
    write_fleet(fleet)
    assert ullage("plan", fleet, "-o", tmp_path / "plan.json").code == 0
    assert ullage(*simulate).err == ""
    assert "made without measurements" in ullage(*simulate, "--store", tmp_path / "own").err


def test_apply_warns_for_emulated_engines_and_refuses_a_store_for_real_ones(tmp_path: Path) -> None:
    write(tmp_path / "own", Measurements(latency=(point(gpu="H100-SXM-80GB"),)))
    fleet = write_fleet(tmp_path / "fleet.yaml", measurements="./own")
    assert ullage("plan", fleet, "-o", tmp_path / "plan.json").code == 0
    asked = ullage("apply", tmp_path / "plan.json", "--engine", "emulated")
    assert REST in asked.err
    assert "--auto-approve" in asked.err
    told = ullage("apply", tmp_path / "plan.json", "--engine", "emulated", "--store", tmp_path / "own")
    assert REST not in told.err
    real = ullage("apply", tmp_path / "plan.json", "--store", tmp_path / "own")
    assert (real.code, "--store works with --engine emulated only" in real.err) == (1, True)
