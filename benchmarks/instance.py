"""Reading problem files of benchmarks: strict, with the file and the field in every error."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from profiles.sources.reading import SourceRecord, json_records
from profiles.sources.source import SourceError

Read = TypeVar("Read")


def read_record(path: Path) -> SourceRecord:
    """The one JSON object of a file. SourceError names what is wrong with it, OSError says that it cannot be read."""
    records = json_records(path.name, path.read_bytes())
    if len(records) != 1:
        raise SourceError(f"{path.name}: holds {len(records)} JSON objects, must be one")
    return records[0]


def positive(record: SourceRecord, key: str) -> float:
    """A finite number above 0."""
    number = record.amount(key)
    if number <= 0:
        raise record.error(key, f"must be above 0, is {number:g}")
    return number


def whole(record: SourceRecord, key: str) -> int:
    """A whole number of at least 0."""
    number = record.amount(key)
    if not number.is_integer():
        raise record.error(key, f"must be a whole number, is {number:g}")
    return int(number)


def entries(record: SourceRecord, key: str) -> tuple[SourceRecord, ...]:
    """The mappings of a list that is not empty."""
    found = tuple(record.nested(value, f"{key}[{place}]") for place, value in enumerate(record.items(key)))
    if not found:
        raise record.error(key, "must not be empty")
    return found


def time_limit(text: str) -> float:
    """Seconds of a --time-limit: a finite number from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 up")
    return value


def answered(program: str, path: Path, read: Callable[[SourceRecord], Read]) -> Read | None:
    """What read makes of a file; None after a sentence on standard error when the file is not what it should be."""
    try:
        return read(read_record(path))
    except (OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return None
