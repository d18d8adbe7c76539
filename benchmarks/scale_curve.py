"""Seconds, memory and gap against the size of the fleet, as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH_PX, PANEL_PX, LEFT_PX, RIGHT_PX, TOP_PX = 720, 150, 90, 30, 50
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'
# Okabe and Ito's blue: visible to everyone, one line per panel needs no second colour.
LINE = "#0072b2"


@dataclass(frozen=True, slots=True)
class Point:
    """One size of fleet and what solving it took."""

    gpus: int
    seconds: float
    peak_mib: int
    gap_fraction: float


def curve_svg(points: Sequence[Point]) -> str:
    """SVG 1.1 text: three panels over the number of GPUs on a logarithmic axis; the same points give the same bytes."""
    panels = (
        ("seconds", [(point.gpus, point.seconds) for point in points]),
        ("peak memory, MiB", [(point.gpus, float(point.peak_mib)) for point in points]),
        ("gap, %", [(point.gpus, 100 * point.gap_fraction) for point in points]),
    )
    height_px = TOP_PX + len(panels) * PANEL_PX
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}" viewBox="0 0 {WIDTH_PX} {height_px}" {FONT}>',
        f'<rect width="{WIDTH_PX}" height="{height_px}" fill="white"/>',
        '<text x="16" y="28" font-size="16" font-weight="bold">Solving, from 8 to 20,000 GPUs</text>',
    ]
    for number, (title, values) in enumerate(panels):
        lines += _panel(title, values, TOP_PX + number * PANEL_PX)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(title: str, values: Sequence[tuple[int, float]], top_px: int) -> Iterator[str]:
    high = max((value for _, value in values), default=0.0) or 1.0
    base_px = top_px + PANEL_PX - 46
    plot_px = base_px - top_px - 14
    spots = [(_across(gpus, values), base_px - plot_px * value / high, gpus, value) for gpus, value in values]
    yield f'<text x="16" y="{top_px + 4}" font-size="12">{title}</text>'
    yield f'<line x1="{LEFT_PX}" y1="{base_px}" x2="{WIDTH_PX - RIGHT_PX}" y2="{base_px}" stroke="#999999"/>'
    path = " ".join(f"{x_px:.1f},{y_px:.1f}" for x_px, y_px, _, _ in spots)
    yield f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>'
    for x_px, y_px, gpus, value in spots:
        yield f'<circle cx="{x_px:.1f}" cy="{y_px:.1f}" r="3.5" fill="{LINE}"/>'
        yield f'<text x="{x_px:.1f}" y="{y_px - 7:.1f}" font-size="11" text-anchor="middle">{value:.3g}</text>'
        yield f'<text x="{x_px:.1f}" y="{base_px + 16}" font-size="11" fill="#333333" text-anchor="middle">{gpus:,}</text>'


def _across(gpus: int, values: Sequence[tuple[int, float]]) -> float:
    low, high = (math.log(end(each for each, _ in values)) for end in (min, max))
    return LEFT_PX + (WIDTH_PX - LEFT_PX - RIGHT_PX) * ((math.log(gpus) - low) / (high - low) if high > low else 0.5)
