"""Tables that benchmarks read: CSV in UTF-8, plain or compressed with gzip, with the columns a benchmark needs; typed cells."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

# How such files write "not given".
_ABSENT = ("", "none", "null", "nan")


def read_table(path: Path, needed: Collection[str]) -> list[dict[str, str]]:
    """The rows in order, a missing cell as an empty text; ValueError when it cannot be read or lacks a column (OSError: no such file)."""
    raw = path.read_bytes()
    try:
        # Spreadsheets begin their CSV files with a byte-order mark.
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
        columns = reader.fieldnames or ()
        rows = list(reader)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    missing = sorted(set(needed) - set(columns))
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
    return rows


def cell(row: Mapping[str, str], column: str) -> str:
    """The text of a cell, empty where there is none."""
    return row.get(column, "").strip()


def optional_number(row: Mapping[str, str], column: str) -> float | None:
    """A finite number above 0, None where none is given; ValueError names the column."""
    text = cell(row, column)
    if text.lower() in _ABSENT:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{column} is {text}, it must be a finite number above 0")
    return value


def number(row: Mapping[str, str], column: str) -> float:
    """As optional_number, but it must be given."""
    value = optional_number(row, column)
    if value is None:
        raise ValueError(f"{column} is not given")
    return value


def optional_count(row: Mapping[str, str], column: str) -> int | None:
    """A whole number of at least 1, None where none is given."""
    value = optional_number(row, column)
    if value is not None and not value.is_integer():
        raise ValueError(f"{column} is {cell(row, column)}, it must be a whole number")
    return None if value is None else int(value)
