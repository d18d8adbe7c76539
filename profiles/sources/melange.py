"""Throughput tables of Mélange (Griggs et al., arXiv 2404.14527) and of AIBrix, which adopted its form: requests/s by lengths and GPU.

Mélange: {"gpu_info": {"A10G": {"cost": 1.01, "tputs": [[2, 1], [5, 1]]}, ...}}, rows by input length, columns by output length. Its own
files do not say the lengths: "indexes": [[input lengths], [output lengths]] must be added beside gpu_info. AIBrix: one object {"gpu": ...,
"cost": ..., "tputs": ..., "indexes": [[output lengths], [input lengths]]}, rows by output length, columns by input length; its e2e, ttft
and tpot are percentiles of other tables and are not read.

A cell is the largest rate that met the latency goal of whoever measured; it becomes a point with a rate and no times. A cell of 0 says that
the goal was never met and becomes none. The model is an option of the import.
"""

from __future__ import annotations

from collections.abc import Iterator

from profiles.sources.engine_fields import engine_fields, provenance
from profiles.sources.reading import SourceRecord, json_records
from profiles.sources.source import Context, Opened, Source, SourceError
from profiles.store.measurements import LatencyPoint, Measurements


def recognises(opened: Opened) -> bool:
    """Whether it has Mélange's gpu_info or AIBrix' tputs and indexes."""
    top = opened.json
    return isinstance(top, dict) and ("gpu_info" in top or {"gpu", "tputs"} <= top.keys())


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """One LatencyPoint per cell above 0."""
    points = tuple(point for record in json_records(name, raw) for table in _tables(record) for point in _points(table, context))
    if not points:
        raise SourceError(f"{name}: tputs: no cell above 0")
    return Measurements(latency=points)


# What the two lists of indexes are, of rows and of columns.
_MELANGE, _AIBRIX = ("input", "output"), ("output", "input")


def _axes(table: SourceRecord) -> tuple[str, str]:
    return _MELANGE if table.prefix else _AIBRIX


def _tables(record: SourceRecord) -> Iterator[SourceRecord]:
    """One record per GPU, each with gpu, tputs and indexes; those of Mélange stand inside gpu_info."""
    if not record.has("gpu_info"):
        yield record
        return
    infos = record.table("gpu_info")
    for gpu in infos.values:
        found = infos.table(str(gpu))
        shared = {"indexes": record.values.get("indexes")}
        yield SourceRecord(record.file, {**shared, **found.values, "gpu": str(gpu)}, found.prefix)


def _points(table: SourceRecord, context: Context) -> Iterator[LatencyPoint]:
    of_rows, of_columns = _axes(table)
    if not table.has("indexes"):
        raise table.error("indexes", f"missing; add [[{of_rows} lengths of the rows], [{of_columns} lengths of the columns]] in tokens")
    axes = table.items("indexes")
    if len(axes) != 2:
        raise table.error("indexes", f"must be two lists, of {of_rows} and of {of_columns} lengths, is {len(axes)}")
    rows_tokens, columns_tokens = (_axis(table, place, axis) for place, axis in enumerate(axes))
    rows = table.items("tputs")
    if len(rows) != len(rows_tokens):
        raise table.error("tputs", f"has {len(rows)} rows, indexes[0] names {len(rows_tokens)} {of_rows} lengths")
    for place, (row_tokens, row) in enumerate(zip(rows_tokens, rows, strict=True)):
        if not isinstance(row, list) or len(row) != len(columns_tokens):
            raise table.error(
                f"tputs[{place}]", f"must be a list of {len(columns_tokens)} rates, one per {of_columns} length of indexes[1]"
            )
        cells = SourceRecord(table.file, {f"[{column}]": value for column, value in enumerate(row)}, f"{table.prefix}tputs[{place}]")
        for column_tokens, key in zip(columns_tokens, cells.values, strict=True):
            rate_rps = cells.amount(key)
            if rate_rps > 0:
                lengths = {of_rows: row_tokens, of_columns: column_tokens}
                yield _point(table, context, lengths["input"], lengths["output"], rate_rps)


def _axis(table: SourceRecord, place: int, axis: object) -> tuple[int, ...]:
    if not isinstance(axis, list) or not axis:
        raise table.error(f"indexes[{place}]", "must be a list of lengths in tokens")
    lengths = SourceRecord(table.file, {f"[{index}]": value for index, value in enumerate(axis)}, f"{table.prefix}indexes[{place}]")
    return tuple(lengths.count(key) for key in lengths.values)


def _point(table: SourceRecord, context: Context, input_tokens: int, output_tokens: int, rate_rps: float) -> LatencyPoint:
    fields = engine_fields(table, context)
    source = provenance(table, context, "melange")
    return table.build(
        lambda: LatencyPoint(**fields, input_tokens=input_tokens, output_tokens=output_tokens, rate_rps=rate_rps, provenance=source),
        {"rate_rps": "tputs"},
    )


SOURCE = Source("throughput table of Mélange or AIBrix (JSON)", recognises, parse)
