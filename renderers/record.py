"""The record of what was written into a folder: path -> SHA-256 digests of contents that are ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from renderers.manifest import RenderError

RECORD_NAME = ".ullage-manifest.json"

FileDigests: TypeAlias = dict[str, tuple[str, ...]]
"""More than one digest per path only between the start and the end of a write."""


class _RecordFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int
    target: str | None = None
    files: FileDigests


def digest(content: str | bytes) -> str:
    """SHA-256 in hex; a text counts as its UTF-8 bytes."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    return hashlib.sha256(raw).hexdigest()


def record_text(record: FileDigests, target: str | None = None) -> str:
    """The record as a file, with the target that the folder belongs to: sorted, so that equal records are equal bytes."""
    found = _RecordFile(schema_version=1, target=target, files=dict(sorted(record.items())))
    return found.model_dump_json(indent=2, exclude_none=True) + "\n"


def read_record(folder: Path) -> tuple[FileDigests, str | None]:
    """The record of a folder and its target, empty and None when it has none; RenderError when it cannot be read."""
    place = folder / RECORD_NAME
    try:
        raw = place.read_bytes()
    except FileNotFoundError:
        return {}, None
    try:
        found = _RecordFile.model_validate_json(raw)
    except ValidationError as error:
        raise RenderError(
            f"{place}: not a record that ullage wrote ({error.error_count()} faults); restore it, or render into an empty folder"
        ) from error
    if found.schema_version != 1:
        raise RenderError(f"{place}: schema_version is {found.schema_version}, this ullage reads 1; render into an empty folder")
    return found.files, found.target
