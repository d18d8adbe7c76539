"""Request traces: reading csv, csv.gz and parquet, finding the busiest stretch, raising the rate.

A trace has columns arrival_s (seconds, sorted), input_tokens and output_tokens, optionally tenant and
cached_prefix_tokens; further columns are allowed and ignored.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A hundred years: traces of epoch seconds are read too.
MAX_ARRIVAL_S = 100 * 365 * 86400.0
REQUIRED_COLUMNS = ("arrival_s", "input_tokens", "output_tokens")
OPTIONAL_COLUMNS = ("tenant", "cached_prefix_tokens")

# 256 MiB of csv are about ten million requests, more than a plan can use; a compressed bomb stops here.
MAX_TEXT_BYTES = 256 * 1024 * 1024
# Two million requests are 23 requests/s for a day and about half a GiB in memory.
MAX_REQUESTS = 2_000_000
# The longest context of any model in the catalogue is ten million tokens (Llama 4 Scout).
MAX_TOKENS = 10_000_000
# One message per bad row is useful for the first few.
MAX_PROBLEMS = 5


class TraceError(ValueError):
    """A trace that cannot be used; the message names the file and for each problem the row and the column."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request of a trace. cached_prefix_tokens of the input_tokens are known to be in a prefix cache already."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    tenant: str = ""
    cached_prefix_tokens: int = 0


def parse_trace(name: str, raw: bytes) -> tuple[TraceRequest, ...]:
    """Read a trace; the ending of name (.csv, .csv.gz, .parquet) decides the format. Raises TraceError."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        rows = _parquet_rows(name, raw)
    elif lower.endswith(".csv.gz"):
        rows = _csv_rows(name, _gunzip(name, raw))
    elif lower.endswith(".csv"):
        rows = _csv_rows(name, raw)
    else:
        raise TraceError(f"{name}: unknown format; allowed endings are .csv, .csv.gz and .parquet")
    return _requests(name, rows)


def busiest(requests: Sequence[TraceRequest], seconds: float) -> float:
    """Start (s) of the stretch of this length with most arrivals; the earliest of equals. Raises ValueError when empty."""
    if not requests:
        raise ValueError("the trace has no requests")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a stretch must last longer than 0 s, got {seconds:g} s")
    best_start_s, best_count, end = 0.0, 0, 0
    for first, request in enumerate(requests):
        while end < len(requests) and requests[end].arrival_s < request.arrival_s + seconds:
            end += 1
        if end - first > best_count:
            best_start_s, best_count = request.arrival_s, end - first
    return best_start_s


def repeat_rate(requests: Sequence[TraceRequest], k: int, horizon_s: float) -> tuple[TraceRequest, ...]:
    """k times the requests in the same time: copy j is shifted by j * horizon_s / k, wrapping around at horizon_s.

    Every arrival must lie in [0, horizon_s]; one at exactly horizon_s wraps to 0. Sorted by arrival, then by place in the
    trace, then by copy. Raises ValueError when k is not a whole number of at least 1 or an arrival is outside.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"the rate is repeated a whole number of times, at least 1; got {k!r}")
    if not (math.isfinite(horizon_s) and horizon_s > 0):
        raise ValueError(f"the horizon must be longer than 0 s, got {horizon_s:g} s")
    outside = [request.arrival_s for request in requests if not 0 <= request.arrival_s <= horizon_s]
    if outside:
        raise ValueError(f"{len(outside)} requests arrive outside the horizon of {horizon_s:g} s, the first at {outside[0]:g} s")
    shifts_s = [copy * horizon_s / k for copy in range(k)]
    copies = [_moved(request, math.fmod(request.arrival_s + shift_s, horizon_s)) for request in requests for shift_s in shifts_s]
    return tuple(sorted(copies, key=lambda request: request.arrival_s))


def _moved(request: TraceRequest, arrival_s: float) -> TraceRequest:
    # dataclasses.replace() is four times slower, and a demo fleet moves tens of thousands
    return TraceRequest(arrival_s, request.input_tokens, request.output_tokens, request.tenant, request.cached_prefix_tokens)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    cells: Mapping[str, Any]


def _gunzip(name: str, raw: bytes) -> bytes:
    parts: list[bytes] = []
    left, room = raw, MAX_TEXT_BYTES
    try:
        # a gzip file may consist of several members
        while left:
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            parts.append(member.decompress(left, room + 1))
            room -= len(parts[-1])
            if room < 0:
                raise TraceError(f"{name}: holds more than {MAX_TEXT_BYTES // 1024**2} MiB of text; split the trace")
            if not member.eof:
                raise TraceError(f"{name}: the gzip file ends early; copy it again")
            left = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise TraceError(f"{name}: not a valid gzip file ({error}); copy it again") from error
    return b"".join(parts)


def _csv_rows(name: str, raw: bytes) -> Iterator[_Row]:
    if len(raw) > MAX_TEXT_BYTES:
        raise TraceError(f"{name}: larger than {MAX_TEXT_BYTES // 1024**2} MiB; split the trace")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TraceError(f"{name}: row {line} is not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if not header:
            raise TraceError(f"{name}: empty; the first row must name the columns {', '.join(REQUIRED_COLUMNS)}")
        _check_columns(name, header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise TraceError(f"{name}: row {reader.line_num}: {len(cells)} values for {len(header)} columns")
            yield _Row(reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise TraceError(f"{name}: row {reader.line_num}: {error}") from error


def _parquet_rows(name: str, raw: bytes) -> Iterator[_Row]:
    # imported here: it takes a third of a second and csv traces do not need it
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(raw))
        header = list(file.schema_arrow.names)
        _check_columns(name, header)
        if file.metadata.num_rows > MAX_REQUESTS:
            raise TraceError(f"{name}: {file.metadata.num_rows} requests, at most {MAX_REQUESTS} are read; split the trace")
        wanted = [column for column in REQUIRED_COLUMNS + OPTIONAL_COLUMNS if column in header]
        table = file.read(columns=wanted).to_pydict()
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        if isinstance(error, TraceError):
            raise
        raise TraceError(
            f"{name}: not a readable parquet file: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    for number, values in enumerate(zip(*(table[column] for column in wanted), strict=True), start=1):
        yield _Row(number, dict(zip(wanted, values, strict=True)))


def _check_columns(name: str, header: Sequence[str]) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in header]
    known = [column for column in header if column in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if missing:
        raise TraceError(f"{name}: column {', '.join(missing)} is missing; the file has {', '.join(header)[:200]!a}")
    if len(known) != len(set(known)):
        raise TraceError(f"{name}: two columns of the same name among {', '.join(known)}")


def _requests(name: str, rows: Iterable[_Row]) -> tuple[TraceRequest, ...]:
    found: list[TraceRequest] = []
    problems: list[str] = []
    last_s = 0.0
    for row in rows:
        try:
            request = _request(row.cells)
            if request.arrival_s < last_s:
                raise _cell_error("arrival_s", request.arrival_s, f"a time after the row above ({last_s:g} s): sort the file by arrival_s")
            last_s = request.arrival_s
            found.append(request)
        except ValueError as error:
            problems.append(f"row {row.number}, {error}")
        if len(problems) == MAX_PROBLEMS or len(found) > MAX_REQUESTS:
            break
    if problems:
        raise TraceError(f"{name}: {'; '.join(problems)}{'; and perhaps more' if len(problems) == MAX_PROBLEMS else ''}")
    if len(found) > MAX_REQUESTS:
        raise TraceError(f"{name}: more than {MAX_REQUESTS} requests; split the trace")
    if not found:
        raise TraceError(f"{name}: has column names but no requests")
    return tuple(found)


def _request(cells: Mapping[str, Any]) -> TraceRequest:
    tenant = "" if cells.get("tenant") is None else str(cells["tenant"])
    if not tenant.isprintable():
        raise _cell_error("tenant", ascii(tenant), "a name that can be printed")
    input_tokens = _tokens(cells, "input_tokens", 1, MAX_TOKENS)
    cached = cells.get("cached_prefix_tokens")
    return TraceRequest(
        arrival_s=_arrival_s(cells["arrival_s"]),
        input_tokens=input_tokens,
        output_tokens=_tokens(cells, "output_tokens", 1, MAX_TOKENS),
        tenant=tenant,
        cached_prefix_tokens=0 if cached is None or cached == "" else _tokens(cells, "cached_prefix_tokens", 0, input_tokens),
    )


def _arrival_s(cell: Any) -> float:  # noqa: ANN401 - a cell of any file
    try:
        arrival_s = float(cell)
    except (TypeError, ValueError, OverflowError):
        arrival_s = math.nan
    if not 0 <= arrival_s <= MAX_ARRIVAL_S:
        raise _cell_error("arrival_s", cell, f"seconds from 0 to {MAX_ARRIVAL_S:.0f}")
    return arrival_s


def _tokens(cells: Mapping[str, Any], column: str, low: int, high: int) -> int:
    cell = cells[column]
    try:
        # 12.0 is whole too: spreadsheets and data frames write that
        number = int(cell) if isinstance(cell, str) and cell.isdecimal() and len(cell) < 10 else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or number != int(number):
        raise _cell_error(column, cell, f"a whole number from {low} to {high}")
    return int(number)


def _cell_error(column: str, cell: object, allowed: str) -> ValueError:
    return ValueError(f"column {column}: {str(cell)[:40]!r} is not {allowed}")
