"""The ways of serving a trace that the benchmark compares, on a small one."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.consolidation import main
from benchmarks.consolidation_picture import curve_svg, waterfall_svg
from benchmarks.consolidation_steps import ConsolidationStep


def test_all_ways_are_simulated_under_the_same_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{at},200,40,{tenant}" for at in range(0, 1200, 2) for tenant in ("day", "night") if (tenant == "day") == (at < 600)]
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,input_tokens,output_tokens,tenant", *rows]), encoding="utf-8")
    picture = tmp_path / "ways.svg"
    words = [str(tmp_path / "trace.csv"), "--window", "300s", "--ways", "--no-verify", "--shortest", "60", "--svg", str(picture)]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found["ways"]) == sorted(["exclusive", "sum_of_peaks", "joint_windows", "sleepers", "rented"])
    assert found["ways"]["exclusive"]["gpus_mean"] == found["gpus_exclusive"] == 2
    assert found["ways"]["joint_windows"]["gpus_most"] == found["gpus_planned"] == 1
    for way in found["ways"].values():
        assert 0.9 < way["attainment"] <= 1.0
        assert way["gpus_mean"] <= way["gpus_most"]
    assert 0.0 < found["exclusive_busy_fraction"] < 1.0
    assert ElementTree.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")


def test_pictures_are_the_same_bytes_for_the_same_figures() -> None:
    ways = [ConsolidationStep("exclusive", 4.0, 4, 1.0), ConsolidationStep("rented", 1.5, 2, 0.995)]
    assert waterfall_svg(ways) == waterfall_svg(list(ways))
    assert "1.5 GPUs, 99.50% in time" in waterfall_svg(ways)
    points = [(0.9, 1.1), (0.1, 3.0)]
    assert curve_svg(points) == curve_svg(points[::-1])
    assert ElementTree.fromstring(curve_svg(points)).tag.endswith("svg")
