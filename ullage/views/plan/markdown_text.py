"""Markdown for comments on GitHub and GitLab, in which text that others wrote is only text.

Names and sentences of a plan come from files that anybody may have edited. What is not `Markdown` already is escaped: it can end no cell
of a table, and make no tag, link, mention, reference, formula or list. Characters that steer terminals are shown as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# Rows that stand open in a comment, and rows that are shown at all: a comment on GitHub holds 65,536 characters.
MOST_OPEN_ROWS = 12
MOST_ROWS = 60
# Characters of one name or sentence.
_MOST_CHARACTERS = 600

_PLAIN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/+:, -]*[A-Za-z0-9.])?")
# Punctuation that means nothing inside a line, neither to Markdown nor to what code hosts make of text afterwards.
_PLAIN = frozenset(" .,;()/+=-'?%:")
# A space without width: shown as nothing, and what follows a sign of these no longer belongs to it.
_BREAK = "&#8203;"
_BINDING = frozenset("@#!$~&^:")
# What begins a list, a heading or a line of its own where it stands first.
_BEGINNING = re.compile(r"(?:[-+]|[0-9]{1,9}[.)])(?= |$)|[-=](?=[-=])|=")
# Words that code hosts make links of: addresses without a scheme, issues, hashes of commits.
_WORDS = re.compile(r"(?i)www(?=\.)|gh-(?=[0-9])|(?<![0-9a-z])(?=[0-9]*[a-f])[0-9a-f]{6}(?=[0-9a-f]+(?![0-9a-z]))")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escaped(text: str) -> Markdown:
    """A sentence, or its beginning where it is very long, that shows as it is written.

    >>> escaped("up to 5 s: a|b of @all")
    'up to 5 s: a&#124;b of &#64;&#8203;all'
    """
    if isinstance(text, Markdown):
        return text
    text = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} ..."
    printable = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text).strip()
    ends = {match.end() - 1 for match in _WORDS.finditer(printable)}
    beginning = _BEGINNING.match(printable)
    first = beginning.end() - 1 if beginning else None
    return Markdown("".join(_letter(printable, place, bare=place != first, broken=place in ends) for place in range(len(printable))))


def _letter(text: str, place: int, *, bare: bool, broken: bool) -> str:
    """One character: as it is where it may stand bare, with a break behind it where what follows would be bound to it."""
    letter, after = text[place], text[place + 1 : place + 2]
    binds = (letter in _BINDING and after not in {"", " "}) or (letter == "%" and (after.isalnum() or after == '"'))
    inner = letter == "_" and after.isalnum() and text[max(0, place - 1) : place].isalnum()
    plain = letter.isalnum() or not letter.isascii() or inner or (letter in _PLAIN and not binds)
    return (letter if plain and bare else f"&#{ord(letter)};") + (_BREAK if binds or broken else "")


def name_code(name: str) -> Markdown:
    """A name in fixed-width letters; one with other characters than names have is text.

    >>> name_code("llama-8b"), name_code("<b>")
    ('`llama-8b`', '&#60;b&#62;')
    """
    return Markdown(f"`{name}`") if len(name) <= _MOST_CHARACTERS and _PLAIN_NAME.fullmatch(name) else escaped(name)


def names_code(names: Sequence[str], most: int = 6) -> Markdown:
    """Several names, and the number of those beyond most; a dash where there are none."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return Markdown((", ".join(map(name_code, names[:most])) or "-") + more)


def bold(text: str) -> Markdown:
    """Text that stands out."""
    return Markdown(f"**{escaped(text)}**")


def bullets(lines: Sequence[str]) -> Iterator[str]:
    """One line each; those beyond MOST_ROWS are counted."""
    yield from (f"* {escaped(line) or '-'}" for line in lines[:MOST_ROWS])
    if len(lines) > MOST_ROWS:
        yield f"* ... and {len(lines) - MOST_ROWS} more"


def markdown_table(what: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> Iterator[str]:
    """A table of so many of what, folded where it is long and cut where it is very long; numbers are columns that stand at the right."""
    lines = [_row(heads), _row([Markdown("---:" if column in numbers else "---") for column in range(len(heads))])]
    lines += [_row(row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines += ["", f"... and {len(rows) - MOST_ROWS} more; `ullage show` prints all of a plan."]
    yield from lines if len(rows) <= MOST_OPEN_ROWS else folded(f"{len(rows)} {what}", lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell if cell == '-' else escaped(cell) or ' ' for cell in cells)} |"


def folded(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines that open on a click."""
    yield f"<details><summary>{escaped(title)}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def sections(parts: Sequence[Sequence[str]]) -> str:
    """Blocks with a blank line between them; ends in a newline."""
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"
