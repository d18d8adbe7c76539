"""The manual of the command line is that of the commands, and each of them shows how it is used."""

from __future__ import annotations

from pathlib import Path

from tests.docs.documents import ROOT
from ullage.cli.manual import manual


def test_the_manual_in_the_docs_is_that_of_the_commands() -> None:
    text = Path(ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert text == manual(), "run: python -m ullage.cli.manual docs/cli.md"


def test_every_command_has_an_example() -> None:
    sections = manual().split("\n## ")[1:]
    assert len(sections) > 30
    assert [section.partition("\n")[0] for section in sections if "Example: " not in section] == []
