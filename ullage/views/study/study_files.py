"""A study as files: flat rows as csv and parquet, everything as JSON, and a picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ullage.inputs import write_text
from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.study.study_folder import RESULTS, write_results
from ullage.views.study.study_svg import study_svg
from ullage.views.tables.move_table import TableCell

CSV, PARQUET, PICTURE = "study.csv", "study.parquet", "study.svg"

# The figures of a row, in the order of the columns.
_FIGURES = (
    "cost_usd_per_h",
    "bound_usd_per_h",
    "gap_fraction",
    "unserved_rps",
    "gpus_used",
    "gpus_total",
    "attainment_fraction",
    "breaks_at_load_factor",
    "loads_gib",
    "binding",
)
# What is a mapping in a row and JSON in a column.
_MAPPINGS = ("by_workload_rps", "lost_at_once_rps", "gpus_by_type")


def study_table(results: StudyResults) -> list[dict[str, TableCell]]:
    """One flat row per scenario with the same columns: its name, its settings by path, its figures, and why there is no plan."""
    return [_flat(row, results.settings) for row in results.rows]


def write_study(folder: Path, results: StudyResults) -> None:
    """Write all files of a study into its folder; the same study gives the same bytes."""
    rows = study_table(results)
    write_results(folder / RESULTS, results)
    write_text(folder / CSV, _csv(rows))
    _write_parquet(folder / PARQUET, rows)
    write_text(folder / PICTURE, study_svg(results))


def _flat(row: StudyRow, settings: Sequence[str]) -> dict[str, TableCell]:
    figures: dict[str, TableCell] = {name: getattr(row, name) for name in _FIGURES}
    mappings: dict[str, TableCell] = {name: _json(getattr(row, name)) for name in _MAPPINGS}
    return {"scenario": row.scenario, **{path: row.settings.get(path) for path in settings}, **figures, **mappings, "problem": row.problem}


def _json(mapping: Mapping[str, float]) -> str:
    return json.dumps(mapping, sort_keys=True)


def _csv(rows: Sequence[Mapping[str, TableCell]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["scenario"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _inert(value: TableCell) -> TableCell:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets themselves do."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _write_parquet(path: Path, rows: Sequence[Mapping[str, TableCell]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink)
    write_text(path, sink.getvalue().to_pybytes())
