"""HTML text that is escaped by construction: what is not markup already becomes text, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

# Letters that HTML does not allow in text: control characters but for tab and line feed, surrogates, and those that are none.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset({"br", "meta"})


class Markup(str):
    """Text that is HTML; every other text is escaped where it is put into an element."""

    __slots__ = ()


def element(name: str, /, *parts: str, **attributes: str | None) -> Markup:
    """An element with its parts in order. class_ stands for class, aria_label for aria-label; None leaves an attribute out."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"' for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(parts)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Parts one after the other, each escaped unless it is markup."""
    return Markup(_markup(between).join(_markup(part) for part in parts))


def listed_items(parts: Iterable[str], class_: str | None = None) -> Markup:
    """An unordered list."""
    return element("ul", *(element("li", part) for part in parts), class_=class_)


def _markup(part: str) -> str:
    return part if isinstance(part, Markup) else _escaped(part)


def _escaped(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text), quote=True)
