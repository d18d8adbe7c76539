"""The folder of a study: rows as they are solved, so that it can go on where it stopped, and its results as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from profiles.regular_files import read_regular
from ullage.inputs import read_bytes, write_text
from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow

ROWS, RESULTS = "rows.jsonl", "study.json"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """Where a study is kept. ValueError when it cannot be written there."""

    path: Path

    def prepare(self) -> None:
        """Make the folder; end a line that a crash has left half written."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path}: is a file; --out names a folder")
        if not self.path.parent.is_dir():
            raise ValueError(f"{self.path}: there is no folder {self.path.parent}; make it first")
        try:
            self.path.mkdir(exist_ok=True)
            rows = self.path / ROWS
            if rows.is_symlink() or (rows.exists() and not rows.is_file()):
                raise ValueError(f"{rows}: is a link or no regular file; rows are added to it, so name another folder")
            if rows.exists() and not rows.read_bytes().endswith(b"\n"):
                self._append("\n")
            rows.touch()
        except OSError as error:
            raise ValueError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def known(self) -> dict[str, StudyRow]:
        """The rows that were solved before, by key; lines that are no rows are passed over."""
        found: dict[str, StudyRow] = {}
        for line in read_regular(self.path / ROWS).decode("utf-8", "replace").splitlines():
            try:
                kept = json.loads(line)
                found[str(kept["key"])] = StudyRow.model_validate(kept["row"])
            except (ValueError, ValidationError, TypeError, KeyError, RecursionError):
                continue
        return found

    def keep(self, key: str, row: StudyRow) -> None:
        """Add a solved row, at once."""
        self._append(f"{json.dumps({'key': key, 'row': row.model_dump(mode='json')}, sort_keys=True)}\n")

    def _append(self, text: str) -> None:
        try:
            with (self.path / ROWS).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ValueError(f"{self.path / ROWS}: cannot be written: {error.strerror or error}") from error


def write_results(path: Path, results: StudyResults) -> None:
    """Write a study as JSON; the same study gives the same bytes."""
    write_text(path, f"{json.dumps(results.model_dump(mode='json'), sort_keys=True, indent=1)}\n")


def read_results(path: Path) -> StudyResults:
    """The results of a study's folder, or of its study.json; ValueError names what is wrong."""
    file = path / RESULTS if path.is_dir() else path
    raw = read_bytes(file, "`ullage whatif fleet.yaml ... -o DIR` makes a study")
    try:
        return StudyResults.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file}: {f'{place}: ' if place else ''}{first['msg']}; is it a study?") from error
