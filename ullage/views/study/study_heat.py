"""A study over two settings as a small map: a cell for each pair of values, with its cost in colour and in figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.views.html.markup import Markup, element
from ullage.views.study.svg_shapes import DIM, INK, svg_text, widest_px

CELL_WIDTH_PX, CELL_HEIGHT_PX, MOST_VALUES = 62, 28, 12
_TOP_PX, _TEXT_PX, _MOST_LABEL_PX = 60, 11, 140
_LIGHT, _DARK, _NONE = (227, 241, 251), (0, 114, 178), "#d9d9d9"


@dataclass(frozen=True, slots=True)
class HeatGrid:
    """The two settings, their values, and the scenario of each pair: down first, across second."""

    down: str
    across: str
    down_values: tuple[str, ...]
    across_values: tuple[str, ...]
    rows: dict[tuple[str, str], StudyRow]

    @property
    def left_px(self) -> float:
        """Room for the values at the left."""
        return widest_px(list(self.down_values), _TEXT_PX, 30, _MOST_LABEL_PX) + 10

    @property
    def width_px(self) -> float:
        """Width of the map."""
        return max(480.0, self.left_px + CELL_WIDTH_PX * len(self.across_values))

    @property
    def height_px(self) -> float:
        """Height of the map with its legend."""
        return _TOP_PX + CELL_HEIGHT_PX * len(self.down_values) + 26


def heat_grid(results: StudyResults) -> HeatGrid | None:
    """The grid, where scenarios combine exactly two settings of few values each."""
    pairs = {tuple(row.settings) for row in results.rows if len(row.settings) > 1}
    if len(pairs) != 1 or len(next(iter(pairs))) != 2:
        return None
    down, across = next(iter(pairs))
    rows = {(row.settings[down], row.settings[across]): row for row in results.rows if len(row.settings) == 2}
    down_values, across_values = (tuple(dict.fromkeys(pair[side] for pair in rows)) for side in (0, 1))
    if max(len(down_values), len(across_values)) > MOST_VALUES or min(len(down_values), len(across_values)) < 2:
        return None
    return HeatGrid(down, across, down_values, across_values, rows)


def heat_map(grid: HeatGrid) -> Markup:
    """A group of shapes of the grid's width and height."""
    room_px = grid.width_px
    parts = [
        svg_text(0, 16, "Cost in USD/h over both settings", 13),
        svg_text(0, 34, f"down: {grid.down}; across: {grid.across}", _TEXT_PX, room_px=room_px, sign="dim", colour=DIM),
    ]
    for place, value in enumerate(grid.across_values):
        x_px = grid.left_px + CELL_WIDTH_PX * (place + 0.5)
        parts.append(svg_text(x_px, _TOP_PX - 6, value, _TEXT_PX, room_px=CELL_WIDTH_PX - 4, anchor="middle"))
    for line, value in enumerate(grid.down_values):
        y_px = _TOP_PX + CELL_HEIGHT_PX * line
        parts.append(svg_text(0, y_px + 18, value, _TEXT_PX, room_px=grid.left_px - 8))
    parts += _cells(grid)
    note = "!: leaves demand unserved; grey: no plan; empty: not planned yet"
    parts.append(svg_text(0, grid.height_px - 8, note, _TEXT_PX, sign="dim", colour=DIM))
    return element("g", *parts, class_="heat")


def _cells(grid: HeatGrid) -> Iterator[Markup]:
    costs = [row.cost_usd_per_h for row in grid.rows.values() if row.cost_usd_per_h is not None]
    low_usd_per_h, span_usd_per_h = min(costs, default=0.0), max(costs, default=0.0) - min(costs, default=0.0)
    for line, down in enumerate(grid.down_values):
        for place, across in enumerate(grid.across_values):
            row = grid.rows.get((down, across))
            part = 0.0
            if row is not None and row.cost_usd_per_h is not None and span_usd_per_h:
                part = (row.cost_usd_per_h - low_usd_per_h) / span_usd_per_h
            yield from _cell(grid.left_px + CELL_WIDTH_PX * place, _TOP_PX + CELL_HEIGHT_PX * line, row, part)


def _cell(x_px: float, y_px: float, row: StudyRow | None, part: float) -> Iterator[Markup]:
    solved = row is not None and row.solved
    size = {"x": f"{x_px:.1f}", "y": f"{y_px:.1f}", "width": str(CELL_WIDTH_PX), "height": str(CELL_HEIGHT_PX)}
    title = (element("title", f"{row.scenario}: {_told(row)}"),) if row is not None else ()
    yield element("rect", *title, fill=_mixed(part) if solved else _NONE, stroke="#ffffff", class_="cell", **size)
    words = "" if row is None else _figure(row)
    colour = "#ffffff" if solved and part > 0.85 else INK
    yield svg_text(
        x_px + CELL_WIDTH_PX / 2, y_px + 18, words, _TEXT_PX, room_px=CELL_WIDTH_PX - 4, sign="on", colour=colour, anchor="middle"
    )


def _figure(row: StudyRow) -> str:
    if row.cost_usd_per_h is None:
        return "no plan"
    figure = f"{row.cost_usd_per_h:,.2f}" if row.cost_usd_per_h < 1000 else f"{row.cost_usd_per_h:,.0f}"
    return f"{figure}{' !' if row.unserved_rps else ''}"


def _told(row: StudyRow) -> str:
    unserved = f", {row.unserved_rps:.2f} requests/s unserved" if row.unserved_rps else ""
    return f"{_figure(row)}{unserved}"


def _mixed(part: float) -> str:
    return "#" + "".join(f"{round(light + (dark - light) * part):02x}" for light, dark in zip(_LIGHT, _DARK, strict=True))


def grid_words(grid: HeatGrid) -> str:
    """The map in words."""
    cells: Sequence[StudyRow] = tuple(grid.rows.values())
    return f"Cost over {grid.down} and {grid.across}: " + "; ".join(f"{row.scenario} {_told(row)}" for row in cells[:12])
