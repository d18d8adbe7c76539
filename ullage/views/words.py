"""What several views share: words for how a GPU is used, units, and columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MIB_PER_GIB = 1024


MODE_WORDS = {
    "exclusive": "exclusive",
    "time_shared": "time-shared",
    "mps": "MPS",
    "mig": "MIG",
    "tensor_parallel": "tensor-parallel",
    "free": "free",
}


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Left-aligned columns, two spaces apart, first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
