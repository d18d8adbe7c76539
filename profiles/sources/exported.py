"""What `ullage profile export --json` writes: every point of a folder of measurements, to be moved into another one."""

from __future__ import annotations

from collections.abc import Mapping

from profiles.fields import FieldError
from profiles.sources.reading import json_records
from profiles.sources.source import Context, Opened, Source, SourceError
from profiles.store.measurements import Measurements
from profiles.store.point_text import SCHEMA_VERSION, decoded

_SECTIONS = ("latency", "pairs", "starts")


def recognises(opened: Opened) -> bool:
    """Whether it is such a file."""
    return isinstance(opened.json, dict) and bool(opened.json) and opened.json.keys() <= {*_SECTIONS}


def parse(name: str, raw: bytes, context: Context) -> Measurements:
    """The points as they were exported; options have nothing to add and are an error."""
    if context != Context():
        raise SourceError(f"{name}: an export says everything about its points: give no options such as --model or --date")
    found = Measurements()
    for record in json_records(name, raw):
        content: dict[object, object] = {"schema_version": SCHEMA_VERSION}
        for key, value in record.values.items():
            content[key] = [_flat(row) for row in value] if isinstance(value, list) else value
        try:
            found += decoded(name, content)
        except FieldError as error:
            raise SourceError(str(error)) from None
    return found


def _flat(row: object) -> object:
    """A point whose provenance stands beside its other keys, as in the folder's own files."""
    if not isinstance(row, Mapping) or not isinstance(row.get("provenance"), Mapping):
        return row
    return {**{key: value for key, value in row.items() if key != "provenance"}, **row["provenance"]}


SOURCE = Source("JSON of `ullage profile export --json`", recognises, parse)
