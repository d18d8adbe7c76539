"""Text in pictures: how wide it is drawn, and how it is cut or wrapped so that nothing lies over anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Advance widths of DejaVu Sans, the widest of the fonts asked for, in thousandths of the font size: most letters and digits are below
# 640, wide ones up to 1000, narrow ones below 400. Bold is a tenth wider.
_WIDE, _NARROW = frozenset("mwMWQOGHNDU@%…"), frozenset("ijl.,:;'|! ·()[]/ft-r")
_WIDE_EM, _USUAL_EM, _NARROW_EM, _BOLD_FACTOR = 1.0, 0.64, 0.42, 1.1


def text_width_px(text: str, size_px: int, *, bold: bool = False) -> float:
    """Width of a line of text, rather too much than too little."""
    ems = sum(_NARROW_EM if letter in _NARROW else _WIDE_EM if letter in _WIDE or not letter.isascii() else _USUAL_EM for letter in text)
    return ems * size_px * (_BOLD_FACTOR if bold else 1.0)


def cut(text: str, size_px: int, room_px: float) -> str:
    """The text, or its two ends around an ellipsis where it is wider than the room: names differ at their ends."""
    if text_width_px(text, size_px) <= room_px:
        return text
    kept = len(text) - 1
    while kept > 2 and text_width_px(_ends(text, kept), size_px) > room_px:
        kept -= 1
    return _ends(text, kept)


def _ends(text: str, kept: int) -> str:
    head = kept // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}"


def listed(names: Sequence[str], size_px: int, room_px: float) -> str:
    """As many names as there is room for, and the number of the others."""
    for shown in range(len(names), 0, -1):
        more = f" and {len(names) - shown} more" if shown < len(names) else ""
        text = " · ".join(names[:shown]) + more
        if text_width_px(text, size_px) <= room_px:
            return text
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return cut(names[0], size_px, room_px - text_width_px(more, size_px)) + more


def wrapped(text: str, size_px: int, room_px: float, *, bold: bool = False) -> Iterator[str]:
    """Lines no wider than the room, broken between words."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and text_width_px(longer, size_px, bold=bold) > room_px:
            yield line
            line = word
        else:
            line = longer
    yield line
