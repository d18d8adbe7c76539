"""Names of replicas and nodes as names of files."""

from __future__ import annotations

from urllib.parse import quote


def file_name(name: str) -> str:
    """A replica's or node's name as a file name: no separator, no leading dot; distinct names stay distinct."""
    quoted = quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
