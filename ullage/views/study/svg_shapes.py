"""Shapes of a picture: each with a colour of its own for a file, and a class by which a page gives it another one."""

from __future__ import annotations

import math

from ullage.views.html.markup import Markup, element
from ullage.views.study.study_text import cut_middle
from ullage.views.svg_text import cut, text_width_px

INK, DIM, GRID = "#1a1a1a", "#4d4d4d", "#d0d4d8"
# No room is as wide as this, and cutting a longer text to its room takes long.
_MOST_LETTERS = 400


def svg_text(
    x_px: float, y_px: float, words: str, size_px: int, *, room_px: float = 0.0, sign: str = "ink", colour: str = INK, anchor: str = "start"
) -> Markup:
    """A line of text, cut where it is wider than its room; what was cut is read by pointing at it."""
    plain = " ".join(words.split())
    shown = cut(cut_middle(plain, _MOST_LETTERS), size_px, room_px) if room_px else plain
    title = (element("title", plain),) if shown != plain else ()
    return element(
        "text",
        shown,
        *title,
        x=f"{x_px:.1f}",
        y=f"{y_px:.1f}",
        font_size=str(size_px),
        fill=colour,
        class_=sign,
        text_anchor=None if anchor == "start" else anchor,
    )


def svg_rect(x_px: float, y_px: float, width_px: float, height_px: float, sign: str, colour: str, title: str = "") -> Markup:
    """A filled rectangle, with a word on pointing at it."""
    told = (element("title", title),) if title else ()
    size = {"x": f"{x_px:.1f}", "y": f"{y_px:.1f}", "width": f"{width_px:.1f}", "height": f"{height_px:.1f}"}
    return element("rect", *told, fill=colour, class_=sign, **size)


def svg_line(from_px: tuple[float, float], to_px: tuple[float, float], sign: str, colour: str, dashes: str | None = None) -> Markup:
    """A thin line."""
    ends = {"x1": f"{from_px[0]:.1f}", "y1": f"{from_px[1]:.1f}", "x2": f"{to_px[0]:.1f}", "y2": f"{to_px[1]:.1f}"}
    return element("line", stroke=colour, stroke_dasharray=dashes, class_=sign, **ends)


def widest_px(texts: list[str], size_px: int, least_px: float, most_px: float) -> float:
    """Room for the widest of the texts, between two bounds."""
    return min(most_px, max([least_px, *(math.ceil(text_width_px(text, size_px)) + 1.0 for text in texts)]))
