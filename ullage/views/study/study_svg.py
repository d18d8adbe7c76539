"""A study as a picture: a row per scenario with its cost to scale, cost against risk, and a map of cost over two settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ullage.study.results import StudyResults, pareto
from ullage.study.rows import StudyRow
from ullage.views.html.markup import Markup, element
from ullage.views.study.study_choice import breaks_words, first_line, left_out_words, most_cost_usd_per_h, shown_rows
from ullage.views.study.study_heat import HeatGrid, heat_grid, heat_map
from ullage.views.study.study_scatter import MOST_NUMBERED, SCATTER_HEIGHT_PX, SCATTER_WIDTH_PX, study_scatter
from ullage.views.study.study_text import breaks_at, headline
from ullage.views.study.svg_shapes import DIM, svg_line, svg_rect, svg_text, widest_px
from ullage.views.svg_text import text_width_px, wrapped

# Rows that a reader still looks through.
MOST_DRAWN = 120
MARGIN_PX, ROW_PX, BAR_HEIGHT_PX, COST_PX, UNSERVED_PX = 16, 24, 14, 300, 70
_TEXT_PX, _HEAD_PX, _MOST_NAME_PX, _MOST_BINDING_PX, _GAP_PX = 12, 16, 380, 300, 14
COST, WRONG, BOUND, DECLARED = "#0072b2", "#b03a00", "#e69f00", "#000000"
_FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"
_NO_PLAN = "no plan: "


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the columns begin, and how many USD/h and requests/s the longest bars stand for."""

    name_px: float
    cost_px: float
    unserved_px: float
    texts: tuple[tuple[float, str], ...]
    binding_px: float
    right_px: float
    most_usd_per_h: float
    most_rps: float


def study_svg(results: StudyResults) -> str:
    """SVG 1.1 text; the same study gives the same bytes."""
    rows, left_out = shown_rows(results, MOST_DRAWN)
    columns = _columns(rows)
    grid = heat_grid(results)
    charts_px = MARGIN_PX + SCATTER_WIDTH_PX + (40 + grid.width_px if grid is not None else 0)
    width_px = max(columns.right_px, charts_px) + MARGIN_PX
    parts, top_px = _head(results, left_out, width_px)
    parts += _rows(results, rows, columns, top_px)
    top_px += ROW_PX * (len(rows) + 1) + 40
    charts, bottom_px = _charts(results, grid, top_px)
    return _whole([*parts, *charts], width_px, bottom_px + MARGIN_PX)


def _charts(results: StudyResults, grid: HeatGrid | None, top_px: float) -> tuple[list[Markup], float]:
    """The points with the names of the front below them, and beside them the map; and where they end."""
    parts, bottom_px = [], top_px
    scatter = study_scatter(results)
    if scatter:
        parts.append(_moved(scatter, MARGIN_PX, top_px))
        bottom_px += SCATTER_HEIGHT_PX
        for line in _front_names(results):
            parts.append(svg_text(MARGIN_PX, bottom_px + 8, line, _TEXT_PX, room_px=SCATTER_WIDTH_PX))
            bottom_px += 18
    if grid is not None:
        parts.append(_moved(heat_map(grid), MARGIN_PX + SCATTER_WIDTH_PX + 40, top_px))
        bottom_px = max(bottom_px, top_px + grid.height_px)
    return parts, bottom_px


def _whole(parts: Sequence[Markup], width_px: float, height_px: float) -> str:
    width, height = f"{width_px:.0f}", f"{height_px:.0f}"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    paper = element("rect", width=width, height=height, fill="white")
    return (
        "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" {size} font-family="{_FONT}">', paper, *parts, "</svg>"]) + "\n"
    )


def _moved(group: Markup, x_px: float, y_px: float) -> Markup:
    return element("g", group, transform=f"translate({x_px:.1f} {y_px:.1f})")


def _head(results: StudyResults, left_out: int, width_px: float) -> tuple[list[Markup], float]:
    """The headline, what is left out, and where the rows begin."""
    room_px = width_px - 2 * MARGIN_PX
    lines = [(line, _HEAD_PX) for line in wrapped(headline(results), _HEAD_PX, room_px)]
    lines += [(line, _TEXT_PX) for line in wrapped(left_out_words(left_out), _TEXT_PX, room_px) if line]
    drawn = [svg_text(MARGIN_PX, 28 + 22 * at, line, size_px, room_px=room_px) for at, (line, size_px) in enumerate(lines)]
    y_px = 28 + 22 * len(lines)
    x_px = float(MARGIN_PX)
    for colour, word in (
        (COST, "cost"),
        (BOUND, "bound: no plan can be cheaper"),
        (DECLARED, "cost as declared"),
        (WRONG, "unserved demand"),
    ):
        thin = colour in {BOUND, DECLARED}
        drawn.append(svg_rect(x_px + (5 if thin else 0), y_px - 11, 3 if thin else 14, 14, "sample", colour))
        drawn.append(svg_text(x_px + 20, y_px, word, _TEXT_PX))
        x_px += 20 + text_width_px(word, _TEXT_PX) + 24
    return drawn, y_px + 16


def _texts(row: StudyRow) -> tuple[str, ...]:
    """What stands in the columns of figures."""
    return f"{row.gpus_used} of {row.gpus_total}", breaks_at(row), f"{(row.gap_fraction or 0.0):.2%}"


def _columns(rows: Sequence[StudyRow]) -> _Columns:
    solved = [row for row in rows if row.solved]
    name_px = widest_px([row.scenario for row in rows], _TEXT_PX, 120, _MOST_NAME_PX)
    cost_px = MARGIN_PX + name_px + _GAP_PX
    figure_px = widest_px([f"{row.cost_usd_per_h:,.2f}" for row in solved], _TEXT_PX, 44, 200)
    unserved_px = cost_px + COST_PX + 6 + figure_px + _GAP_PX
    at_px = unserved_px + UNSERVED_PX + 6 + widest_px([f"{row.unserved_rps:,.2f}" for row in solved], _TEXT_PX, 50, 200) + _GAP_PX
    texts: list[tuple[float, str]] = []
    for place, head in enumerate(("GPUs used", "breaks at", "gap")):
        texts.append((at_px, head))
        at_px += widest_px([head, *(_texts(row)[place] for row in solved)], _TEXT_PX, 40, 200) + _GAP_PX
    binding_px = widest_px([row.binding for row in solved], _TEXT_PX, 110, _MOST_BINDING_PX)
    most_rps = max([row.unserved_rps or 0.0 for row in rows], default=0.0) or 1.0
    return _Columns(name_px, cost_px, unserved_px, tuple(texts), at_px, at_px + binding_px, most_cost_usd_per_h(rows), most_rps)


def _rows(results: StudyResults, rows: Sequence[StudyRow], columns: _Columns, top_px: float) -> Iterator[Markup]:
    heads = ((MARGIN_PX, "scenario"), (columns.cost_px, "USD/h"), (columns.unserved_px, "unserved requests/s"), *columns.texts)
    for x_px, head in (*heads, (columns.binding_px, "what binds")):
        yield svg_text(x_px, top_px + 14, head, 11, room_px=UNSERVED_PX + 60 if x_px == columns.unserved_px else 0, sign="dim", colour=DIM)
    top_px += ROW_PX
    base_usd_per_h = results.base.cost_usd_per_h if results.base is not None else None
    x_px = columns.cost_px + COST_PX * min(1.0, (base_usd_per_h or 0.0) / columns.most_usd_per_h)
    for place, row in enumerate(rows):
        y_px = top_px + ROW_PX * place
        yield element("g", *_row(row, columns, y_px), class_="scenario")
        # in a row without a plan it would lie over the reason
        if base_usd_per_h is not None and row.solved:
            yield svg_line((x_px, y_px), (x_px, y_px + ROW_PX), "declared", DECLARED, "2 2")


def _row(row: StudyRow, columns: _Columns, y_px: float) -> Iterator[Markup]:
    base_px, bar_px = y_px + 16, y_px + 5
    yield svg_text(MARGIN_PX, base_px, row.scenario, _TEXT_PX, room_px=columns.name_px)
    if not row.solved:
        room_px = columns.right_px - columns.cost_px
        yield svg_text(
            columns.cost_px, base_px, f"{_NO_PLAN}{first_line(row.problem)}", _TEXT_PX, room_px=room_px, sign="bad", colour=WRONG
        )
        return
    cost_usd_per_h, bound_usd_per_h = row.cost_usd_per_h or 0.0, row.bound_usd_per_h or 0.0
    told = f"{row.scenario}: {cost_usd_per_h:,.2f} USD/h, bound {bound_usd_per_h:,.2f}"
    width_px = COST_PX * cost_usd_per_h / columns.most_usd_per_h
    yield svg_rect(columns.cost_px, bar_px, width_px, BAR_HEIGHT_PX, "cost", COST, told)
    at_px = columns.cost_px + COST_PX * min(1.0, bound_usd_per_h / columns.most_usd_per_h)
    yield svg_rect(at_px - 1.5, bar_px - 2, 3, BAR_HEIGHT_PX + 4, "bound", BOUND)
    yield svg_text(columns.cost_px + COST_PX + 6, base_px, f"{cost_usd_per_h:,.2f}", _TEXT_PX)
    if row.unserved_rps:
        yield svg_rect(
            columns.unserved_px, bar_px + 2, UNSERVED_PX * row.unserved_rps / columns.most_rps, BAR_HEIGHT_PX - 4, "short", WRONG
        )
        yield svg_text(columns.unserved_px + UNSERVED_PX + 6, base_px, f"{row.unserved_rps:,.2f}", _TEXT_PX, sign="bad", colour=WRONG)
    for (x_px, _), words in zip(columns.texts, _texts(row), strict=True):
        yield svg_text(x_px, base_px, words, _TEXT_PX)
    yield svg_text(columns.binding_px, base_px, row.binding, _TEXT_PX, room_px=columns.right_px - columns.binding_px)


def _front_names(results: StudyResults) -> Iterator[str]:
    front = pareto(results)
    for number, row in enumerate(front[:MOST_NUMBERED], start=1):
        yield f"{number}  {row.scenario}: {row.cost_usd_per_h:,.2f} USD/h, {breaks_words(row)}"
    if len(front) > MOST_NUMBERED:
        yield f"and {len(front) - MOST_NUMBERED} more on the front"
