"""The memory benchmark on the logged starts, and on rows it cannot predict."""

import csv
import gzip
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


def test_a_compressed_table_with_a_byte_order_mark_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + FIXTURE.read_bytes(), mtime=0))
    assert figures(path, capsys)[0] == figures(FIXTURE, capsys)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "columns missing: gpu, "),
        (b"a,b\n1,2\n", "columns missing: gpu, "),
        (FIXTURE.read_bytes().replace(b",", b";"), "columns missing: gpu, "),
        (gzip.compress(FIXTURE.read_bytes(), mtime=0)[:500], "cannot be read: Compressed file ended"),
        (b"model\xff,gpu\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_what_is_no_such_table_is_an_error_that_names_the_file(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit):
        main([str(path)])
    told = capsys.readouterr().err
    assert message in told
    assert str(path) in told


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("tp", "2.5", "tp is 2.5, it must be a whole number"),
        ("weights_gib", "x", "weights_gib is x, it must be a finite number above 0"),
        ("weights_gib", "NaN", "weights_gib is not given"),
        ("weights_gib", "1e99", "weights_gib is 1e+99, the GPU has 79.19 GiB"),
        ("kv_gib", "1e400", "kv_gib is 1e400, it must be"),
        ("gpu_memory_utilization", "95", "gpu_memory_utilization is 95, it is a share of the memory and at most 1"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_by_its_column(
    column: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FIXTURE.open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow({**row, column: text})
    found, out = figures(path, capsys)
    assert (found["rows"], found["refused"]) == (1, 1)
    assert f"line 2: {message}" in out


def test_a_row_that_is_cut_off_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, row = FIXTURE.read_text(encoding="utf-8").splitlines()[:2]
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n{','.join(row.split(',')[:8])}", encoding="utf-8")
    found, out = figures(path, capsys)
    assert found["rows"] == found["refused"] == 1
    assert "line 2: gpu_memory_utilization is not given" in out
