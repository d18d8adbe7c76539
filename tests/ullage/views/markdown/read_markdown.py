"""Markdown as a code host reads it: tables by their cells, tags, and what it would make of text afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

# What code hosts make of text outside of code: links, mentions, references, formulas, emoji.
_BOUND = re.compile(
    r"(?i)\b[a-z][a-z0-9+.-]*:[/a-z]|\bwww\.|[@#!$~&^](?=[\w\"'/-])|\bgh-\d|%[\w\"]|(?<![0-9a-z\u200b])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![0-9a-z\u200b])"
)
_OURS = re.compile(r"<details><summary>[^<>]*</summary>\n?|</details>\n?")


@dataclass
class ReadMarkdown:
    """What a text holds: cells by row of each table, kinds of blocks, words outside of code, HTML."""

    tables: list[list[list[str]]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)

    @property
    def foreign(self) -> list[str]:
        """Tags that are not ours, marks that are not ours, and text that a code host would bind to something."""
        tags = [text for text in self.html if not _OURS.fullmatch(text)]
        marks = sorted(self.marks - {"text", "code_inline", "strong_open", "strong_close", "softbreak", "text_special"})
        return [*tags, *marks, *(found.group() for text in self.texts for found in _BOUND.finditer(text))]


def read_markdown(text: str) -> ReadMarkdown:
    """The text, parsed as CommonMark with tables."""
    found = ReadMarkdown()
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        _note(found, token)
    return found


def _note(found: ReadMarkdown, token: Token) -> None:
    if token.type == "table_open":
        found.tables.append([])
    elif token.type == "tr_open":
        found.tables[-1].append([])
    elif token.type == "inline":
        words = "".join(_words(found, token))
        if token.map is not None and found.tables and found.blocks and found.blocks[-1] in {"th_open", "td_open"}:
            found.tables[-1][-1].append(words)
    elif token.type == "html_block":
        found.html.append(token.content)
    found.blocks.append(token.type)


def _words(found: ReadMarkdown, inline: Token) -> Iterator[str]:
    plain = ""
    for child in inline.children or ():
        found.marks.add(child.type)
        if child.type in {"text", "text_special"}:
            plain += child.content
        else:
            # what stands beside code cannot be bound to what stands in it
            found.texts.append(plain)
            plain = ""
        if child.type == "html_inline":
            found.html.append(child.content)
        yield child.content
    found.texts.append(plain)
