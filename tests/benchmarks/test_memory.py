"""The memory benchmark on the logged starts, and on rows it cannot predict."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks.memory import main

FIXTURE = Path(__file__).parents[1] / "profiles" / "fixtures" / "vllm_memory_logs.csv"


def figures(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, float], str]:
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    return json.loads(out.splitlines()[-1]), out


def test_logged_starts_are_within_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = figures(FIXTURE, capsys)
    assert (found["rows"], found["refused"]) == (31, 0)
    assert found["kv_mean_abs_error_fraction"] <= 0.005
    assert found["kv_max_abs_error_fraction"] <= 0.03
    assert found["weights_median_abs_error_fraction"] <= 0.01


def test_rows_that_cannot_be_predicted_are_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FIXTURE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:4]
    rows[0]["model"] = "nobody/knows-this"
    rows[1]["tp"] = "3"
    rows[2]["weights_gib"] = "-1"
    rows[3]["max_num_seqs"] = rows[3]["max_num_batched_tokens"] = ""
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found, out = figures(path, capsys)
    assert (found["rows"], found["refused"]) == (4, 3)
    for reason in ("line 2: unknown model 'nobody/knows-this'", "does not divide", "line 4: weights_gib is -1"):
        assert reason in out
