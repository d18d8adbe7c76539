"""Documents as YAML that YAML 1.1 and 1.2 read alike: block style, keys in their order, doubtful texts in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from renderers.templates import scalar

Document: TypeAlias = Mapping[str, Any]
"""A YAML mapping of texts, numbers, truths, lists and mappings; its keys in the order in which they are written."""

# A text of this form is a text to every reader, unless it is one of the words below.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._/-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"})


def yaml_text(*documents: Document) -> str:
    """The documents, one after another with `---` between them; ends with a newline.

    >>> print(yaml_text({"kind": "List", "items": [{"name": "on"}, {"name": "a"}], "spec": {}}), end="")
    kind: List
    items:
    - name: "on"
    - name: a
    spec: {}
    """
    return "---\n".join("\n".join(_mapping(document)) + "\n" for document in documents)


def _mapping(document: Document) -> Iterator[str]:
    for key, value in document.items():
        name = _text(key)
        if isinstance(value, Mapping) and value:
            yield f"{name}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif _is_list(value) and value and all(isinstance(each, int) for each in value):
            yield f"{name}: [{', '.join(map(scalar, value))}]"
        elif _is_list(value) and value:
            yield f"{name}:"
            yield from _items(value)
        else:
            yield from _single(f"{name}: ", value)


def _items(values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            lines = list(_mapping(value))
        elif _is_list(value) and value:
            lines = list(_items(value))
        else:
            lines = list(_single("", value))
        yield f"- {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])


def _single(before: str, value: object) -> Iterator[str]:
    if isinstance(value, str) and _is_block(value):
        yield f"{before}|"
        yield from (f"  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    elif isinstance(value, str):
        yield before + _text(value)
    elif isinstance(value, Mapping) or _is_list(value):
        yield before + ("{}" if isinstance(value, Mapping) else "[]")
    else:
        yield before + scalar(value)  # type: ignore[arg-type] # what is left is a number or a truth


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_block(text: str) -> bool:
    """Whether a text of lines can stand as they are: no white space at their ends or at the first, nothing that cannot be printed."""
    lines = text.removesuffix("\n").split("\n")
    return (
        text.endswith("\n")
        and len(lines) > 1
        and not lines[0].startswith((" ", "\t"))
        and all(line.isprintable() and line == line.rstrip() and not line.startswith("\t") for line in lines)
        and bool(lines[0])
        and bool(lines[-1])
    )


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return scalar(text)
