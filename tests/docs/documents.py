"""Reads the documents: their commands, and the links and command names inside their text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]))

# <!-- test: check only apply, destroy: why --> stands before a block whose commands with these verbs are not run
_MARKER = re.compile(r"<!-- test: check only (?P<verbs>[a-z, ]+): .+ -->")
_INDENTED = re.compile(r"    (?P<command>(ullage|make) .*)")
_FENCE = re.compile(r"```(?P<language>\w*)")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_SPAN = re.compile(r"`((?:ullage|make) [^`]+)`")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of a document, with the words a shell would see; runs is False where it is only to be checked."""

    where: str
    words: tuple[str, ...]
    runs: bool


def commands(document: Path) -> Iterator[Command]:
    """Commands in ```sh blocks and in indented lines that begin with `ullage ` or `make `, in order."""
    language: str | None = None
    unrun: frozenset[str] = frozenset()
    inside = False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{document.relative_to(ROOT)}:{number}"
        if marker := _MARKER.fullmatch(line):
            unrun, inside = frozenset(marker["verbs"].split(", ")), False
            continue
        if fence := _FENCE.match(line):
            language = fence["language"] if language is None else None
        indented = _INDENTED.match(line) if language is None else None
        text = indented["command"] if indented else line if language == "sh" and not fence else ""
        words = tuple(shlex.split(text, comments=True))
        if words:
            inside = True
            yield Command(where, words, words[0] == "ullage" and words[1] not in unrun)
        elif inside and line and language is None:
            # the block that the marker stood before is over
            unrun = frozenset()


def spans(document: Path) -> Iterator[tuple[str, ...]]:
    """Words of every inline `ullage ...` and `make ...`."""
    for text in _SPAN.findall(_unfenced(document)):
        yield tuple(text.split())


def links(document: Path) -> Iterator[str]:
    """Targets of links to files of this repository, with their #anchor."""
    for match in _LINK.finditer(_unfenced(document)):
        if "://" not in match["target"]:
            yield match["target"]


def anchors(document: Path) -> frozenset[str]:
    """Anchors of a document's headings, as code hosts build them."""
    headings = re.findall(r"^#+ (.+)$", _unfenced(document), flags=re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def _unfenced(document: Path) -> str:
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
