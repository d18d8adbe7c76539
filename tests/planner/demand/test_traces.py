from __future__ import annotations

import gzip
import io
import re
from collections import Counter
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.demand import traces
from planner.demand.traces import TraceError, TraceRequest, busiest, parse_trace, repeat_rate

CSV = b"arrival_s,input_tokens,output_tokens,tenant,cached_prefix_tokens,note\n0.0,10,5,a,0,x\n1.5,20,6,b,16,y\n1.5,30,7,,,z\n"
EXPECTED = (TraceRequest(0.0, 10, 5, "a", 0), TraceRequest(1.5, 20, 6, "b", 16), TraceRequest(1.5, 30, 7, "", 0))


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def rows(*lines: str, header: str = "arrival_s,input_tokens,output_tokens") -> bytes:
    return "\n".join((header, *lines)).encode()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("t.csv", CSV),
        ("t.csv", b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")),
        ("T.CSV.GZ", gzip.compress(CSV, mtime=0)),
        ("t.csv.gz", gzip.compress(CSV[:40], mtime=0) + gzip.compress(CSV[40:], mtime=0)),
        (
            "t.parquet",
            parquet(
                arrival_s=[0.0, 1.5, 1.5],
                input_tokens=[10, 20, 30],
                output_tokens=[5.0, 6.0, 7.0],
                tenant=["a", "b", None],
                cached_prefix_tokens=[0, 16, None],
                note=["x", "y", "z"],
            ),
        ),
    ],
)
def test_formats_read_alike(name: str, raw: bytes) -> None:
    assert parse_trace(name, raw) == EXPECTED


def test_optional_columns_may_be_missing_and_whole_floats_are_whole() -> None:
    assert parse_trace("t.csv", rows("0,10.0,5")) == (TraceRequest(0.0, 10, 5),)


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("t.csv", b"", "t.csv: empty; the first row must name the columns arrival_s"),
        ("t.csv", b"arrival_s,input_tokens\n0,1\n", "column output_tokens is missing; the file has 'arrival_s, input_tokens'"),
        ("t.csv", rows(), "has column names but no requests"),
        ("t.csv", rows("0,1,1", "nan,1,1"), "row 3, column arrival_s: 'nan' is not seconds from 0 to 3153600000"),
        ("t.csv", rows("inf,1,1"), "row 2, column arrival_s: 'inf'"),
        ("t.csv", rows("-1,1,1"), "row 2, column arrival_s: '-1'"),
        (
            "t.csv",
            rows("0,1,1,a\x1b[31m", header="arrival_s,input_tokens,output_tokens,tenant"),
            "row 2, column tenant: \"'a\\\\x1b[31m'\" is not",
        ),
        ("t.csv", rows("1e308,1,1"), "row 2, column arrival_s: '1e308' is not seconds from 0 to 3153600000"),
        ("t.csv", rows("2,1,1", "1,1,1"), "row 3, column arrival_s: '1.0' is not a time after the row above (2 s): sort the file"),
        ("t.csv", rows("0,0,1"), "row 2, column input_tokens: '0' is not a whole number from 1 to"),
        ("t.csv", rows("0,1,0"), "row 2, column output_tokens: '0'"),
        ("t.csv", rows("0,1.5,1"), "column input_tokens: '1.5'"),
        ("t.csv", rows("0," + "9" * 5000 + ",1"), "column input_tokens: '9999"),
        ("t.csv", rows("0,,1"), "column input_tokens: ''"),
        ("t.csv", rows("0,1"), "row 2: 2 values for 3 columns"),
        (
            "t.csv",
            rows("0,5,1,6", header="arrival_s,input_tokens,output_tokens,cached_prefix_tokens"),
            "'6' is not a whole number from 0 to 5",
        ),
        ("t.csv", b"arrival_s,arrival_s,input_tokens,output_tokens\n0,0,1,1\n", "two columns of the same name"),
        ("t.csv", b'arrival_s,input_tokens,output_tokens\n"0,1,1\n', "unexpected end of data"),
        ("t.csv", b"arrival_s,input_tokens,output_tokens\n0,1,\xff\n", "row 2 is not UTF-8 (byte 0xff)"),
        ("t.csv", b"arrival_s,input_tokens,output_tokens\n0,1,\x00\n", "column output_tokens: '\\x00'"),
        ("t.csv.gz", CSV, "not a valid gzip file"),
        ("t.csv.gz", b"", "empty"),
        ("t.csv.gz", gzip.compress(CSV, mtime=0)[:-12], "the gzip file ends early"),
        ("t.parquet", b"PAR1 nothing PAR1", "not a readable parquet file"),
        ("t.parquet", b"", "not a readable parquet file"),
        ("t.parquet", parquet(arrival_s=[0.0], input_tokens=[1]), "column output_tokens is missing"),
        ("t.parquet", parquet(arrival_s=[None], input_tokens=[1], output_tokens=[1]), "row 1, column arrival_s: 'None'"),
        ("t.parquet", parquet(arrival_s=[0.0], input_tokens=[[1]], output_tokens=[1]), "row 1, column input_tokens: '[1]'"),
        ("t.json", b"{}", "unknown format; allowed endings are .csv, .csv.gz and .parquet"),
    ],
)
def test_bad_traces_name_file_row_and_column(name: str, raw: bytes, expected: str) -> None:
    with pytest.raises(TraceError, match=re.escape(expected)) as caught:
        parse_trace(name, raw)
    assert str(caught.value).startswith(f"{name}: ")


def test_several_bad_rows_are_reported_together() -> None:
    with pytest.raises(TraceError, match=r"row 2, .*; row 4, .*"):
        parse_trace("t.csv", rows("0,0,1", "1,1,1", "2,1,0"))
    with pytest.raises(TraceError, match="and perhaps more"):
        parse_trace("t.csv", rows(*["0,0,1"] * 9))


def test_a_gzip_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_TEXT_BYTES", 1024**2)
    with pytest.raises(TraceError, match="holds more than 1 MiB of text"):
        parse_trace("t.csv.gz", gzip.compress(b"\0" * 4 * 1024**2, mtime=0))


def test_too_many_requests_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_REQUESTS", 2)
    for name, raw in (("t.csv", CSV), ("t.parquet", parquet(arrival_s=[0, 1, 2], input_tokens=[1] * 3, output_tokens=[1] * 3))):
        with pytest.raises(TraceError, match="split the trace"):
            parse_trace(name, raw)


@given(st.sampled_from(["t.csv", "t.csv.gz", "t.parquet"]), st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_trace_error(name: str, raw: bytes) -> None:
    with pytest.raises(TraceError):
        parse_trace(name, raw)


@given(st.data())
def test_damaged_traces_are_read_or_refused(data: st.DataObject) -> None:
    name, whole = data.draw(
        st.sampled_from(
            [
                ("t.csv", CSV),
                ("t.csv.gz", gzip.compress(CSV, mtime=0)),
                ("t.parquet", parquet(arrival_s=[0.0], input_tokens=[1], output_tokens=[1])),
            ]
        )
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(TraceError):
        parse_trace(name, bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


def requests_at(*arrivals_s: float) -> tuple[TraceRequest, ...]:
    return tuple(TraceRequest(arrival_s, 1 + index, 1) for index, arrival_s in enumerate(arrivals_s))


arrivals = st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted)


def test_busiest() -> None:
    assert busiest(requests_at(0, 10, 11, 12, 30, 31), 5) == 10
    assert busiest(requests_at(0, 10), 5) == 0, "the earliest of equals"
    with pytest.raises(ValueError, match="no requests"):
        busiest((), 5)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="longer than 0 s"):
            busiest(requests_at(1), seconds)


@given(arrivals, st.floats(0.1, 50))
def test_no_stretch_has_more_requests_than_the_busiest(arrivals_s: list[float], seconds: float) -> None:
    def count(start_s: float) -> int:
        return sum(start_s <= arrival_s < start_s + seconds for arrival_s in arrivals_s)

    best = busiest(requests_at(*arrivals_s), seconds)
    assert all(count(best) >= count(start_s) for start_s in arrivals_s)


def test_repeat_rate() -> None:
    tripled = repeat_rate(requests_at(0, 10, 29), 3, 30)
    assert [(request.arrival_s, request.input_tokens) for request in tripled] == [
        (0, 1), (0, 2), (9, 3), (10, 1), (10, 2), (19, 3), (20, 1), (20, 2), (29, 3),
    ]  # fmt: skip
    assert repeat_rate(requests_at(5), 1, 30) == requests_at(5)


@given(arrivals, st.integers(1, 7))
def test_repeating_multiplies_and_keeps_the_horizon(arrivals_s: list[float], k: int) -> None:
    requests = requests_at(*arrivals_s)
    repeated = repeat_rate(requests, k, 100.0)
    assert Counter(request.input_tokens for request in repeated) == {request.input_tokens: k for request in requests}
    assert all(0 <= request.arrival_s < 100 for request in repeated)
    assert list(repeated) == sorted(repeated, key=lambda request: request.arrival_s)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_repeating_takes_whole_numbers(k: int) -> None:
    with pytest.raises(ValueError, match="a whole number of times"):
        repeat_rate(requests_at(0), k, 10)


@pytest.mark.parametrize("horizon_s", [0.0, -1.0, float("nan"), float("inf")])
def test_repeating_needs_a_horizon(horizon_s: float) -> None:
    with pytest.raises(ValueError, match="horizon must be longer"):
        repeat_rate(requests_at(0), 2, horizon_s)


def test_repeating_refuses_arrivals_outside_the_horizon() -> None:
    with pytest.raises(ValueError, match="2 requests arrive outside the horizon of 10 s, the first at 11 s"):
        repeat_rate(requests_at(1, 11, 12), 2, 10)
