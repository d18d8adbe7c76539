"""From bytes to records: text, JSON, CSV, and typed reading of keys that names file and key in every error."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from profiles.sources.source import Opened, SourceError
from profiles.store.measurements import Measurements
from profiles.store.plausible import MeasurementError

# A benchmark report with every request in it has a few MiB; what is larger is another kind of file, or a compressed bomb.
MAX_TEXT_BYTES = 256 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"

Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The keys of one mapping; file and prefix say where it stands. Numbers may be written as text, as CSV and command lines do."""

    file: str
    values: Mapping[str, object]
    prefix: str = ""

    def error(self, key: str, problem: str) -> SourceError:
        """The error to raise about a key."""
        return SourceError(f"{self.file}: {self.prefix}{key}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the key is there with a value other than null."""
        return self.values.get(key) is not None

    def amount(self, key: str) -> float:
        """A finite number, at least 0."""
        if not self.has(key):
            raise self.error(key, "missing" if key not in self.values else "must not be null")
        value = self.values[key]
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(key, f"must be a finite number, is {_short(value)}")
        if number < 0:
            raise self.error(key, f"must not be negative, is {number:g}")
        return number

    def optional_amount(self, key: str) -> float | None:
        """As amount, or None when the key is missing or null."""
        return self.amount(key) if self.has(key) else None

    def count(self, key: str) -> int:
        """A whole number, at least 1."""
        number = self.amount(key)
        if number < 1 or not number.is_integer():
            raise self.error(key, f"must be a whole number of at least 1, is {number:g}")
        return int(number)

    def optional_count(self, key: str) -> int | None:
        """As count, or None when the key is missing or null."""
        return self.count(key) if self.has(key) else None

    def seconds(self, key: str, unit_s: float = 1e-3) -> float | None:
        """A time in units of unit_s as seconds; None when it is missing, null or 0, which tools write for what they did not measure."""
        value = self.optional_amount(key)
        return value * unit_s if value else None

    def text(self, key: str) -> str:
        """A text that is not empty."""
        if not self.has(key):
            raise self.error(key, "missing" if key not in self.values else "must not be null")
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"must be text, is {_short(value)}")
        return value.strip()

    def optional_text(self, key: str) -> str | None:
        """As text, or None when the key is missing or null."""
        return self.text(key) if self.has(key) else None

    def items(self, key: str) -> list[object]:
        """A list."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.error(key, "missing" if value is None else f"must be a list, is {_short(value)}")
        return value

    def table(self, key: str) -> SourceRecord:
        """A nested mapping."""
        value = self.values.get(key)
        if value is None:
            raise self.error(key, "missing")
        return self.nested(value, key)

    def nested(self, value: object, path: str) -> SourceRecord:
        """The record of a value found under path, which must be a mapping."""
        if not isinstance(value, Mapping):
            raise self.error(path, f"must be a mapping, is {_short(value)}")
        return SourceRecord(self.file, value, f"{self.prefix}{path}.")

    def build(self, make: Callable[[], Built], names: Mapping[str, str] | None = None) -> Built:
        """What make builds; a value it refuses becomes an error about the key it was read from (names: field -> key)."""
        try:
            return make()
        except MeasurementError as refused:
            raise self.error((names or {}).get(refused.field, refused.field), refused.problem) from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def text_of(name: str, raw: bytes) -> str:
    """The text of a file, decompressed when it is gzip. SourceError when it is empty, too large, damaged or not UTF-8."""
    content = _decompressed(name, raw) if raw.startswith(_GZIP_MAGIC) else raw
    if len(content) > MAX_TEXT_BYTES:
        raise SourceError(f"{name}: larger than {MAX_TEXT_BYTES // 1024**2} MiB; is it a measurement?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise SourceError(f"{name}: the file is empty")
    return text


def _decompressed(name: str, raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: damaged gzip file: {error}") from None


def opened(name: str, raw: bytes) -> Opened:
    """A file ready to be recognised; SourceError as text_of."""
    text = text_of(name, raw)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _first_line(text)
    return Opened(name, text, found)


def _first_line(text: str) -> object:
    try:
        return json.loads(text.strip().partition("\n")[0])
    except (ValueError, RecursionError):
        return None


def json_records(name: str, raw: bytes) -> tuple[SourceRecord, ...]:
    """The mappings of a JSON file: one object, a list of objects, or one object per line. SourceError where it is none."""
    text = text_of(name, raw)
    try:
        found = json.loads(text)
    except RecursionError:
        raise SourceError(f"{name}: nested too deeply to be a measurement") from None
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
            raise SourceError(f"{name}: not JSON, or cut off: {error}") from None
        found = [_json_line(name, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    whole = SourceRecord(name, {})
    if isinstance(found, Mapping):
        return (SourceRecord(name, found),)
    if not isinstance(found, list) or not found:
        raise SourceError(f"{name}: must be a JSON object or a list of them, is {_short(found)}")
    return tuple(whole.nested(entry, f"[{place}]") for place, entry in enumerate(found))


def _json_line(name: str, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}: line {number}: not JSON, or cut off: {error}") from None


def csv_records(name: str, raw: bytes) -> tuple[SourceRecord, ...]:
    """The rows of a CSV file with a heading; empty cells are missing keys. SourceError for rows with more or fewer cells."""
    try:
        rows = list(csv.reader(io.StringIO(text_of(name, raw), newline=""), strict=True))
    except csv.Error as error:
        raise SourceError(f"{name}: not CSV: {error}") from None
    heading = [cell.strip() for cell in rows[0]]
    if len(set(heading)) < len(heading):
        raise SourceError(f"{name}: row 1: a column stands there twice: {', '.join(heading)}")
    records = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(heading):
            raise SourceError(f"{name}: row {number}: has {len(row)} cells, the heading has {len(heading)}; is the file cut off?")
        filled = {key: cell.strip() for key, cell in zip(heading, row, strict=True) if cell.strip()}
        records.append(SourceRecord(name, filled, f"row {number}: "))
    if not records:
        raise SourceError(f"{name}: has no rows below its heading")
    return tuple(records)


def columns(text: str) -> frozenset[str]:
    """The names in the first line of a CSV text."""
    return frozenset(cell.strip() for cell in text.strip().partition("\n")[0].split(","))


def one_run(name: str, found: Measurements) -> Measurements:
    """The same measurements; SourceError when points that one run against one engine must have made name several engine versions."""
    provenances = [*(point.provenance for point in found.latency), *(point.provenance for point in found.starts)]
    versions = sorted({str(provenance.engine_version) for provenance in provenances})
    if len(versions) > 1:
        raise SourceError(f"{name}: engine_version: mixed engine versions in one file: {', '.join(versions)}; import each on its own")
    return found
