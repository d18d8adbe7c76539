"""The values that a setting takes in a study: one, several, or a range of whole numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from planner.spec.edits import node_of, node_of_text

# A setting with more values than this is a mistake: nobody looks at so many.
MOST_VALUES = 10_000

_RANGE = re.compile(r"\s*(-?[0-9]{1,12})\s*\.\.\s*(-?[0-9]{1,12})\s*(?:\.\.\s*([0-9]{1,12})\s*)?")
_OPEN, _CLOSE = "[{", "]}"


def values_of(path: str, given: object) -> tuple[object, ...]:
    """The values of a setting, in order, each once. ValueError when there are none or too many.

    A text is read as the command line writes it: values between commas, ranges with both ends. Anything else that can be iterated over
    gives its items, and everything else is one value.

    >>> values_of("pools.h100.nodes", "2..4,8")
    ('2', '3', '4', '8')
    >>> values_of("workloads.chat.rate", ["x0.5", "x1"])
    ('x0.5', 'x1')
    """
    found: dict[str, object] = {}
    for value in _written(path, given) if isinstance(given, str) else _items(given):
        found.setdefault(json.dumps(node_of(value).plain(), sort_keys=True), value)
        if len(found) > MOST_VALUES:
            raise ValueError(f"{path}: more than {MOST_VALUES} values; give fewer")
    if not found:
        raise ValueError(f"{path}: there are no values in {given!r:.60}; give at least one, for example 2..6")
    return tuple(found.values())


def setting_of(text: str) -> tuple[str, tuple[object, ...]]:
    """A setting as the command line says it, PATH=VALUES.

    >>> setting_of("pools.h100.nodes=2..3")
    ('pools.h100.nodes', ('2', '3'))
    """
    path, equals, values = text.partition("=")
    if not equals or not path.strip() or not values.strip():
        raise ValueError(f"--set {text!r:.80}: write PATH=VALUES, for example pools.h100.nodes=2..6 or workloads.chat.rate=x0.5,x1,x2")
    return path.strip(), values_of(path.strip(), values)


def split(text: str, separator: str) -> Iterator[str]:
    """Parts of a text between separators that stand outside of brackets and quotes; a space separates where whitespace is.

    >>> list(split("[a, b],c", ","))
    ['[a, b]', 'c']
    """
    depth, quote, part = 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif depth == 0 and (letter == separator or (separator == " " and letter.isspace())):
            yield part
            part = ""
            continue
        part += letter
    yield part


def shown(value: object) -> str:
    """A value as a table shows it: texts as they are, lists and mappings as a fleet file says them on one line.

    What cannot be printed is shown as an escape: it must not control the terminal of whoever reads the table.
    """
    plain = node_of(value).plain()
    if isinstance(plain, str):
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in plain)
    if plain is None:
        return "default"
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{shown(key)}: {shown(item)}" for key, item in plain.items()) + "}"
    return "[" + ", ".join(map(shown, plain)) + "]"


def _items(given: object) -> Iterator[object]:
    if isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
        yield from given
    else:
        yield given


def _written(path: str, text: str) -> Iterator[object]:
    for part in split(text, ","):
        found = _RANGE.fullmatch(part)
        if found is not None:
            yield from _range(path, part.strip(), int(found[1]), int(found[2]), int(found[3] or 1))
        elif not part.strip():
            raise ValueError(f"{path}: a value is missing in {text!r:.60}; write for example 2,4,8")
        else:
            yield _value(path, part.strip())


def _value(path: str, text: str) -> object:
    try:
        return node_of_text(text).plain()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _range(path: str, text: str, first: int, last: int, step: int) -> Iterator[str]:
    if step < 1:
        raise ValueError(f"{path}: the range {text} makes no steps; write FIRST..LAST..STEP with a step of at least 1")
    if last < first:
        raise ValueError(f"{path}: the range {text} is empty; write {last}..{first}")
    yield from map(str, range(first, last + 1, step))
