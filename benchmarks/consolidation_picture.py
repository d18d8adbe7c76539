"""The ways of serving a trace as a picture: GPUs of each, and the requests that met their goals."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.consolidation_steps import ConsolidationStep

WIDTH_PX, ROW_PX, LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 720, 44, 220, 170, 60, 40
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'
BAR, LINE = "#0072b2", "#333333"
TITLES = {
    "exclusive": "one model per GPU",
    "sum_of_peaks": "sharing, sum of peaks",
    "joint_windows": "sharing, joint windows",
    "sleepers": "schedule with sleepers",
    "rented": "schedule, GPUs rented",
}


def waterfall_svg(ways: Sequence[ConsolidationStep]) -> str:
    """SVG 1.1 text: a bar per way, of its GPUs in the mean, and a line at its most; the same ways give the same bytes."""
    height_px = TOP_PX + ROW_PX * len(ways) + BOTTOM_PX
    largest = max((way.gpus_most for way in ways), default=1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}" viewBox="0 0 {WIDTH_PX} {height_px}" {FONT}>',
        f'<rect width="{WIDTH_PX}" height="{height_px}" fill="white"/>',
        '<text x="16" y="28" font-size="16" font-weight="bold">GPUs for the same requests</text>',
    ]
    for number, way in enumerate(ways):
        y_px = TOP_PX + ROW_PX * number
        bar_px, most_px = (_length_px(gpus, largest) for gpus in (way.gpus_mean, float(way.gpus_most)))
        share = f"{way.gpus_mean:.1f} GPUs" if way.gpus_mean != way.gpus_most else f"{way.gpus_most} GPUs"
        lines += [
            f'<text x="{LEFT_PX - 12}" y="{y_px + 19}" font-size="13" text-anchor="end">{TITLES[way.name]}</text>',
            f'<rect x="{LEFT_PX}" y="{y_px + 4}" width="{bar_px:.1f}" height="{ROW_PX - 18}" fill="{BAR}"/>',
            f'<line x1="{LEFT_PX + most_px:.1f}" y1="{y_px}" x2="{LEFT_PX + most_px:.1f}" y2="{y_px + ROW_PX - 10}" stroke="{LINE}"/>',
            f'<text x="{LEFT_PX + most_px + 8:.1f}" y="{y_px + 20}" font-size="12">{share}, {way.attainment_fraction:.2%} in time</text>',
        ]
    note = "Bars: mean over time. Lines: most at once. In time: requests within both goals in the simulation."
    lines.append(f'<text x="16" y="{height_px - 14}" font-size="11" fill="{LINE}">{note}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _length_px(gpus: float, largest: int) -> float:
    return (WIDTH_PX - LEFT_PX - RIGHT_PX) * gpus / max(1, largest)


PLOT_PX, SIDE_PX = 300, 60


def curve_svg(points: Sequence[tuple[float, float]]) -> str:
    """SVG 1.1 text: how many times fewer GPUs sharing needs (up) by how busy the GPUs are with one model on each (across)."""
    most = max((ratio for _, ratio in points), default=1.0)
    width_px, height_px = WIDTH_PX, PLOT_PX + 110

    def at(busy: float, ratio: float) -> tuple[float, float]:
        return SIDE_PX + (width_px - 2 * SIDE_PX) * busy, 50 + PLOT_PX * (1 - ratio / (1.1 * most))

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width_px}" height="{height_px}" viewBox="0 0 {width_px} {height_px}" {FONT}>',
        f'<rect width="{width_px}" height="{height_px}" fill="white"/>',
        '<text x="16" y="28" font-size="16" font-weight="bold">GPUs with one model on each, over GPUs with sharing</text>',
    ]
    for tenths in range(0, 11, 2):
        x_px, y_px = at(tenths / 10, 0.0)
        lines.append(f'<line x1="{x_px:.1f}" y1="50" x2="{x_px:.1f}" y2="{y_px:.1f}" stroke="#eeeeee"/>')
        lines.append(f'<text x="{x_px:.1f}" y="{y_px + 18:.1f}" font-size="11" text-anchor="middle">{10 * tenths} %</text>')
    for ratio in range(1, int(most) + 1):
        x_px, y_px = at(0.0, float(ratio))
        stroke = LINE if ratio == 1 else "#dddddd"
        lines.append(f'<line x1="{x_px:.1f}" y1="{y_px:.1f}" x2="{width_px - SIDE_PX}" y2="{y_px:.1f}" stroke="{stroke}"/>')
        lines.append(f'<text x="{x_px - 8:.1f}" y="{y_px + 4:.1f}" font-size="11" text-anchor="end">{ratio}</text>')
    places = [at(*point) for point in sorted(points)]
    path = " ".join(f"{x_px:.1f},{y_px:.1f}" for x_px, y_px in places)
    lines.append(f'<polyline points="{path}" fill="none" stroke="{BAR}" stroke-width="2"/>')
    lines += [f'<circle cx="{x_px:.1f}" cy="{y_px:.1f}" r="4" fill="{BAR}"/>' for x_px, y_px in places]
    note = "Across: mean part of the time in which the GPUs have work with one model on each. 1: sharing saves nothing."
    lines.append(f'<text x="16" y="{height_px - 14}" font-size="11" fill="{LINE}">{note}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
