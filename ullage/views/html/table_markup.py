"""Tables with captions and scopes, in a frame that scrolls by keyboard where they are too wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ullage.views.html.markup import Markup, element


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> Markup:
    """The first cell of each row is its head; numbers are the columns that are set to the right."""
    right = frozenset(numbers)
    head = element("tr", *(element("th", word, scope="col", class_=_side(place, right)) for place, word in enumerate(heads)))
    body = (_row(row, right) for row in rows)
    table = element("table", element("caption", caption), element("thead", head), element("tbody", *body), class_="tab")
    return element("div", table, class_="scroll", role="group", aria_label=caption, tabindex="0")


def _row(cells: Sequence[str], right: frozenset[int]) -> Markup:
    head, *others = cells
    first = element("th", head, scope="row", class_=_side(0, right))
    return element("tr", first, *(element("td", cell, class_=_side(place, right)) for place, cell in enumerate(others, start=1)))


def _side(place: int, right: frozenset[int]) -> str | None:
    return "num" if place in right else None
