"""Planned load over breaking load of each generated GPU, as a picture: by sizing alone, and in plans that were simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WIDTH_PX, ROW_PX, LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 720, 34, 110, 30, 74, 56
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'
# Okabe and Ito's orange and blue, told apart by form as well: hollow and filled.
ALONE, VERIFIED = "#d55e00", "#0072b2"
# The axis ends here; what is beyond lies on its end.
LARGEST = 1.5

# Residents of a GPU, its ratio by sizing alone (None: no place), and as verified.
Dot = tuple[int, float | None, float]


def sizing_svg(dots: Sequence[Dot]) -> str:
    """SVG 1.1 text: a row per number of residents, the ratio from 0 to 1.5 across; the same dots give the same bytes."""
    residents = sorted({dot[0] for dot in dots})
    base_px = TOP_PX + ROW_PX * len(residents)
    height_px = base_px + BOTTOM_PX
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}" viewBox="0 0 {WIDTH_PX} {height_px}" {FONT}>',
        f'<rect width="{WIDTH_PX}" height="{height_px}" fill="white"/>',
        '<text x="16" y="28" font-size="16" font-weight="bold">Planned load over the load at which the GPU breaks</text>',
        *_legend(),
        *_axis(base_px),
    ]
    for number, count in enumerate(residents):
        y_px = TOP_PX + ROW_PX * number + ROW_PX / 2
        lines.append(f'<text x="16" y="{y_px + 4:.1f}" font-size="12">{count} resident{"s" if count > 1 else ""}</text>')
        lines.append(f'<line x1="{LEFT_PX}" y1="{y_px:.1f}" x2="{WIDTH_PX - RIGHT_PX}" y2="{y_px:.1f}" stroke="#eeeeee"/>')
        for _, alone, verified in (dot for dot in dots if dot[0] == count):
            if alone is not None:
                lines.append(_dot(alone, y_px, ALONE, "white"))
            lines.append(_dot(verified, y_px, VERIFIED, VERIFIED))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    for x_px, color, fill, text in (
        (LEFT_PX, ALONE, "white", "by closed formulas alone"),
        (330, VERIFIED, VERIFIED, "confirmed by simulation"),
    ):
        yield f'<circle cx="{x_px}" cy="50" r="4.5" fill="{fill}" stroke="{color}" stroke-width="2"/>'
        yield f'<text x="{x_px + 12}" y="54" font-size="12">{text}</text>'


def _axis(base_px: int) -> Iterator[str]:
    for tenths in (0, 25, 50, 75, 100, 125, 150):
        x_px = _across(tenths / 100)
        stroke = "#333333" if tenths == 100 else "#dddddd"
        yield f'<line x1="{x_px:.1f}" y1="{TOP_PX}" x2="{x_px:.1f}" y2="{base_px}" stroke="{stroke}"/>'
        yield f'<text x="{x_px:.1f}" y="{base_px + 18}" font-size="11" text-anchor="middle">{tenths / 100:g}</text>'
    middle_px = (LEFT_PX + WIDTH_PX - RIGHT_PX) / 2
    text = "1: as much as it bears; left of it load that could have been planned, right of it goals that are missed"
    yield f'<text x="{middle_px:.1f}" y="{base_px + 40}" font-size="11" fill="#333333" text-anchor="middle">{text}</text>'


def _dot(ratio: float, y_px: float, stroke: str, fill: str) -> str:
    return (
        f'<circle cx="{_across(ratio):.1f}" cy="{y_px:.1f}" r="4.5" fill="{fill}" fill-opacity="0.7" stroke="{stroke}" stroke-width="2"/>'
    )


def _across(ratio: float) -> float:
    return LEFT_PX + (WIDTH_PX - LEFT_PX - RIGHT_PX) * min(ratio, LARGEST) / LARGEST
