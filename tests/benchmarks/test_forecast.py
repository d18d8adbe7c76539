"""The benchmark of demand forecasts on a small file, and what it says of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from benchmarks.forecast import main

STEPS = range(0, 14 * 144 * 600, 600)


def write(path: Path, **columns: list[object]) -> Path:
    times_s = list(STEPS)
    whole: dict[str, list[object]] = {
        "model": ["m"] * len(STEPS),
        "client": [1] * len(STEPS),
        "t_s": [*times_s],
        # the same every day, but for one hour of the last week before the days held out
        "rate_rps": [50.0 if 5 * 24 <= time_s // 3600 < 5 * 24 + 1 else 1.0 + time_s // 3600 % 24 for time_s in times_s],
    }
    pyarrow.parquet.write_table(pyarrow.table({**whole, **columns}), path)
    return path


def test_a_day_that_repeats_itself_is_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write(tmp_path / "rates.parquet")), "--days", "12"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["clients"] == found["models"]
    assert found["clients"]["seasonal_error_fraction"] == 0
    assert found["clients"]["last_week_error_fraction"] > 0
    assert found["clients"]["inside_fraction"] == 1


def test_wrong_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("model,client\n", encoding="utf-8")
    short = tmp_path / "short.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"model": ["m"], "client": [1], "t_s": [0]}), short)
    for path, more, expected in (
        (tmp_path / "none.parquet", (), "none.parquet"),
        (text, (), "text.parquet: not a readable parquet file"),
        (short, (), "short.parquet: columns missing: rate_rps"),
        (write(tmp_path / "rates.parquet"), ("--days", "13"), "there are 336 hours"),
        (write(tmp_path / "sevens.parquet", t_s=[7 * step for step in range(len(STEPS))]), (), "steps of 7 s do not divide an hour"),
    ):
        assert main([str(path), *more]) == 2
        assert expected in capsys.readouterr().err
