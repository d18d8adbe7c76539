"""Text that a notebook shows as it is, and not as a string in quotes."""

from __future__ import annotations

from ullage.notebook.escaped import text_html


class PrintedText(str):
    """A str in every way, shown line by line.

    >>> PrintedText("first\\nsecond")
    first
    second
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """The text itself."""
        return str(self)

    def _repr_html_(self) -> str:
        return text_html(self)
