"""Text and tables as HTML fragments; names come from files that others wrote, so every cell is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


def text_html(text: str) -> str:
    """Text in fixed-width letters.

    >>> text_html("a < b")
    '<pre style="line-height:1.25">a &lt; b</pre>'
    """
    return f'<pre style="line-height:1.25">{escape(text)}</pre>'


def table_html(caption: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """A table with a caption and these columns; numbers stand at the right, None is an empty cell.

    >>> table_html("GPUs", [{"gpu": 0}], ("gpu",))
    '<table><caption>GPUs</caption><tr><th>gpu</th></tr><tr><td style="text-align:right">0</td></tr></table>'
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row[column]) for column in columns)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f'<td style="text-align:right">{shown}</td>'
    return f'<td style="text-align:left">{escape(str(value))}</td>'
