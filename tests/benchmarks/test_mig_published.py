"""The published MIG scenarios: never above the published counts, proven, with legal start slots; bad files are explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mig_published import main

FIXTURE = Path(__file__).parent / "fixtures" / "mig_published.json"


def test_published_scenarios_are_met_and_proven(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FIXTURE), "--plan"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert [(name, row["gpus"], row["slices"]) for name, row in found.items()] == [("S1", 2, 10), ("S2", 3, 20)]
    for row in found.values():
        assert row["proven"]
        assert (row["violations"], row["unserved_rps"]) == (0, 0.0)
        assert row["gpus"] <= row["published"]["gpus"]
    assert sum(line.startswith("S2 GPU ") for line in lines) == 3
    assert all(" at slot " in line for line in lines)


def _changed(change: Callable[[dict[str, Any]], object]) -> str:
    instance = json.loads(FIXTURE.read_text(encoding="utf-8"))
    change(instance)
    return json.dumps(instance)


BAD: dict[str, tuple[str, str]] = {
    "cut off": (FIXTURE.read_text(encoding="utf-8")[:500], "not JSON, or cut off"),
    "empty": ("", "the file is empty"),
    "no scenarios": (_changed(lambda it: it.pop("scenarios")), "scenarios: missing"),
    "no rate": (_changed(lambda it: it["scenarios"][0]["services"][1].pop("rate_rps")), "scenarios[0].services[1].rate_rps: missing"),
    "NaN": (_changed(lambda it: it["scenarios"][0]["services"][0].update(slo_ms=float("nan"))), "slo_ms: must be a finite number"),
    "unknown model": (_changed(lambda it: it["scenarios"][0]["services"][0].update(model="gpt")), "gpt has no profiles"),
    "impossible SLO": (_changed(lambda it: it["scenarios"][0]["services"][0].update(slo_ms=1)), "it cannot be served at all"),
    "bad slot": (_changed(lambda it: it["mig_placements"].update({"2": [[0]]})), "mig_placements.2[0]: must be [start, length]"),
    "no layouts": (_changed(lambda it: it.update(mig_placements={})), "mig_placements: must not be empty"),
    "no throughput": (_changed(lambda it: it["profiles"]["bert"][0].update(throughput_rps=0)), "throughput_rps: must be above 0"),
    "twice": (_changed(lambda it: it["scenarios"][1].update(id="S1")), "an id stands there twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_explained(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, says = BAD[case]
    path = tmp_path / "instance.json"
    path.write_text(text, encoding="utf-8")
    assert main([str(path)]) == 2
    said = capsys.readouterr()
    assert "instance.json: " in said.err
    assert says in said.err
    assert said.out == ""


def test_a_file_that_is_not_there_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_a_scenario_without_load_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "idle.json"
    path.write_text(
        _changed(lambda it: it.update(scenarios=[{"id": "idle", "services": [{"model": "bert", "slo_ms": 9e3, "rate_rps": 0}]}]))
    )
    assert main([str(path), "--time-limit", "0"]) == 0
    row = json.loads(capsys.readouterr().out)["idle"]
    assert (row["gpus"], row["slices"], row["published"]) == (0, 0, {})
