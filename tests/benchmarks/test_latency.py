"""The latency benchmark on the measured rows: its targets, what it refuses, its speed; the shipped fit is what the fitter finds."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fit_latency import engine_fit, usable
from benchmarks.latency import main
from benchmarks.latency_rows import Refused, Row, read_rows
from profiles.fitting import PRIORS
from profiles.latency_fits import COEFFICIENT_NAMES, fit_for

FIXTURE = Path(__file__).parents[1] / "profiles" / "fixtures" / "serving_measured.csv.gz"


def figures(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    assert main([str(path), *options]) == 0
    out = capsys.readouterr().out
    return json.loads(out.splitlines()[-1]), out


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def measured() -> list[dict[str, str]]:
    with gzip.open(FIXTURE, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_of_every_engine_are_within_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = figures(FIXTURE, capsys)
    assert {name: found[name]["rows"] for name in ("sglang", "trtllm", "vllm", "vllm suspect")} == {
        "sglang": 124,
        "trtllm": 240,
        "vllm": 95,
        "vllm suspect": 13,
    }
    for name, tpot_target in (("vllm", 0.04), ("sglang", 0.08), ("trtllm", 0.08)):
        assert found[name]["refused"] == 0
        assert found[name]["tpot_median_abs_error_fraction"] <= tpot_target
        assert found[name]["ttft_median_abs_error_fraction"] <= 0.30
        assert 0.75 <= found[name]["tpot_inside_fraction"] <= 0.90
        assert 0.75 <= found[name]["ttft_inside_fraction"] <= 0.90


def test_vllm_rows_of_models_and_gpus_left_out_are_within_the_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "vllm.csv", [row for row in measured() if row["backend"] == "vllm"])
    found, _ = figures(path, capsys, "--folds")
    for name in ("vllm model left out", "vllm GPU left out"):
        fold = found["folds"][name]
        assert fold["tpot_median_abs_error_fraction"] <= 0.08
        assert fold["ttft_median_abs_error_fraction"] <= 0.30
        assert 0.75 <= fold["tpot_inside_fraction"] <= 0.90
        assert 0.75 <= fold["ttft_inside_fraction"] <= 0.90
    for name in ("Qwen/Qwen3-32B", "meta-llama/Llama-3.1-70B"):
        assert found["folds"][f"vllm model left out: {name}"]["tpot_median_abs_error_fraction"] <= 0.08


def test_the_shipped_coefficients_are_those_of_the_rows() -> None:
    rows = [row for row in read_rows(FIXTURE) if isinstance(row, Row)]
    observed = usable(rows, "vllm")
    shipped = fit_for()
    assert len(observed) == shipped.rows == 95
    again = engine_fit("vllm", observed, PRIORS, shipped.source)
    for name in COEFFICIENT_NAMES:
        assert getattr(again.coefficients, name) == pytest.approx(getattr(shipped.coefficients, name), rel=1e-3)
    assert again.tpot_error_fraction == pytest.approx(shipped.tpot_error_fraction, abs=1e-3)


def test_a_row_counted_twice_over_its_experts_is_one_node() -> None:
    rows = [row for row in read_rows(FIXTURE) if isinstance(row, Row)]
    sizes = {(row.observation.engine.settings.tensor_parallel_size, row.observation.engine.data_parallel_size) for row in rows}
    assert sizes == {(1, 1), (2, 1), (4, 1), (8, 1), (1, 8)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_path": "nobody/knows-this"}, "unknown model 'nobody/knows-this'"),
        ({"system": "tpu_v5"}, "unknown GPU type 'tpu_v5'"),
        ({"tp_size": "3.0"}, "tensor_parallel_size 3 does not divide"),
        ({"tp_size": "2.5"}, "tp_size is 2.5, it must be a whole number"),
        ({"isl": "nan"}, "isl is nan, it must be a finite number above 0"),
        ({"ttft_ms": "-4"}, "ttft_ms is -4"),
        ({"tpot_ms": "fast"}, "tpot_ms is fast"),
        ({"osl": ""}, "osl is not given"),
        ({"isl": "900000"}, "exceeds the model's"),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], reason: str
) -> None:
    row = next(row for row in measured() if row["backend"] == "vllm")
    found, out = figures(write(tmp_path / "rows.csv", [row, {**row, **change}]), capsys)
    assert (found["vllm"]["rows"], found["vllm"]["refused"]) == (2, 1)
    assert f"refused 1: {reason}" in out or reason in out


def test_an_engine_without_a_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = measured()[0]
    found, out = figures(write(tmp_path / "rows.csv", [{**row, "backend": "tgi"}]), capsys)
    assert found["tgi"] == {"rows": 1, "refused": 1}
    assert "refused 1: no latency fit for engine 'tgi'" in out


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_files_of_another_kind_end_with_a_message(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        main([str(path)])
    assert "are missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.csv")])
    assert "none.csv" in capsys.readouterr().err


def test_truncated_archives_end_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "half.csv.gz"
    path.write_bytes(FIXTURE.read_bytes()[:4000])
    with pytest.raises(SystemExit):
        main([str(path)])
    assert "half.csv.gz" in capsys.readouterr().err


def test_a_sweep_of_the_catalogue_takes_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = figures(write(tmp_path / "one.csv", measured()[:1]), capsys, "--sweep")
    assert found["sweep"]["predictions"] > 10_000
    # 3 s on one core of 2023; the limit leaves room for a loaded machine
    assert found["sweep"]["elapsed_s"] < 15


def test_refused_rows_name_their_engine() -> None:
    assert not [row for row in read_rows(FIXTURE) if isinstance(row, Refused)]
