"""A study as points: cost against the growth of demand that breaks the first workload, with the front as a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ullage.study.results import StudyResults, pareto
from ullage.study.rows import StudyRow
from ullage.study.scenarios import BASE
from ullage.views.html.markup import Markup, element
from ullage.views.study.round_ticks import doubling_ticks, round_ticks, tick_words
from ullage.views.study.study_choice import breaks_words
from ullage.views.study.svg_shapes import DIM, GRID, svg_line, svg_text

SCATTER_WIDTH_PX, SCATTER_HEIGHT_PX = 640, 380
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 96, 624, 46, 330
_BAND_PX, _TEXT_PX, _POINT_PX = 26, 11, 4.0
_POINT, _FRONT, _WRONG = "#56b4e9", "#d55e00", "#b03a00"
# Numbers at points of the front, where there is room for them.
MOST_NUMBERED = 12
# Rows beyond which points that lie close together are one.
_MANY_ROWS = 5000


class _Scale:
    """Where a point is: cost from left to right, growth from below; those beyond x32 and those that break now have a band each."""

    def __init__(self, rows: Sequence[StudyRow]) -> None:
        costs = [row.cost_usd_per_h or 0.0 for row in rows] or [0.0]
        self.x_ticks = round_ticks(*_widened(costs))
        grown = [row.breaks_at_load_factor for row in rows if row.breaks_at_load_factor and not row.unserved_rps]
        self.beyond = any(row.breaks_at_load_factor is None and not row.unserved_rps for row in rows)
        self.now = any(row.unserved_rps or row.breaks_at_load_factor == 0.0 for row in rows)
        self.doubling = bool(grown) and max(grown) > 3 * min(grown)
        self.y_ticks = (doubling_ticks(min(grown), max(grown)) if self.doubling else round_ticks(*_widened(grown))) if grown else []
        self.high_px = TOP_PX + (_BAND_PX if self.beyond else 0)
        self.low_px = BOTTOM_PX - (_BAND_PX if self.now else 0)

    def x_px(self, cost_usd_per_h: float) -> float:
        first, last = self.x_ticks[0], self.x_ticks[-1]
        return LEFT_PX + (RIGHT_PX - LEFT_PX) * (cost_usd_per_h - first) / (last - first)

    def y_px(self, factor: float) -> float:
        of = math.log2 if self.doubling else float
        first, last = of(self.y_ticks[0]), of(self.y_ticks[-1])
        return self.low_px - (self.low_px - self.high_px) * (of(factor) - first) / ((last - first) or 1.0)

    def place(self, row: StudyRow) -> tuple[float, float]:
        x_px = self.x_px(row.cost_usd_per_h or 0.0)
        if row.unserved_rps or row.breaks_at_load_factor == 0.0:
            return x_px, BOTTOM_PX - _BAND_PX / 2
        if row.breaks_at_load_factor is None:
            return x_px, TOP_PX + _BAND_PX / 2
        return x_px, self.y_px(row.breaks_at_load_factor)


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values; where they are almost the same, one in which that is seen."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 0.02 * high else (low * 0.95, high * 1.05)


def study_scatter(results: StudyResults) -> Markup:
    """A group of shapes, SCATTER_WIDTH_PX wide and SCATTER_HEIGHT_PX high; empty where nothing was planned."""
    rows = [row for row in results.rows if row.solved]
    if not rows:
        return Markup()
    scale, front = _Scale(rows), pareto(results)
    parts = [*_axes(scale), *_front(scale, front), *_points(scale, rows, front), *_numbers(scale, front)]
    return element("g", *parts, class_="scatter")


def scatter_words(results: StudyResults) -> str:
    """The picture in words."""
    ends = ", ".join(f"{row.scenario} {row.cost_usd_per_h:,.2f} USD/h {breaks_words(row)}" for row in pareto(results)[:3])
    return f"Cost against the growth of demand that breaks the first workload. Front: {ends or 'no scenario serves everything'}"


def _axes(scale: _Scale) -> Iterator[Markup]:
    yield svg_text(0, 16, "Cost against the growth of demand that breaks the first workload", 13)
    yield svg_text(0, 34, "demand grown to; orange: the front, numbered from its cheapest", _TEXT_PX, sign="dim", colour=DIM)
    for value in scale.x_ticks:
        x_px = scale.x_px(value)
        yield svg_line((x_px, TOP_PX), (x_px, BOTTOM_PX), "grid", GRID)
        yield svg_text(x_px, BOTTOM_PX + 16, tick_words(value), _TEXT_PX, anchor="middle")
    yield svg_text((LEFT_PX + RIGHT_PX) / 2, BOTTOM_PX + 38, "USD/h", _TEXT_PX, sign="dim", colour=DIM, anchor="middle")
    ticks = [(scale.y_px(value), f"x{tick_words(value)}") for value in scale.y_ticks]
    ticks += [(TOP_PX + _BAND_PX / 2, "beyond x32")] if scale.beyond else []
    ticks += [(BOTTOM_PX - _BAND_PX / 2, "breaks now")] if scale.now else []
    for y_px, _ in ticks:
        yield svg_line((LEFT_PX, y_px), (RIGHT_PX, y_px), "grid", GRID)
    least_px = -math.inf
    for y_px, words in sorted(ticks):
        if y_px - least_px >= _TEXT_PX + 1:
            yield svg_text(LEFT_PX - 8, y_px + 4, words, _TEXT_PX, anchor="end")
            least_px = y_px


def _front(scale: _Scale, front: Sequence[StudyRow]) -> Iterator[Markup]:
    """Steps: up to the next point, a growth is had only at the cost of that point."""
    places = [scale.place(row) for row in front]
    if len(places) < 2:
        return
    steps = [f"M{places[0][0]:.1f} {places[0][1]:.1f}", *(f"H{x_px:.1f}V{y_px:.1f}" for x_px, y_px in places[1:])]
    yield element("path", d="".join(steps), fill="none", stroke=_FRONT, stroke_width="2", class_="front")


def _points(scale: _Scale, rows: Sequence[StudyRow], front: Sequence[StudyRow]) -> Iterator[Markup]:
    """A circle for all scenarios in one place, a square where demand is unserved; the front over the others."""
    best = {row.scenario for row in front}
    # very many points lie over each other anyway
    step_px = 0.1 if len(rows) <= _MANY_ROWS else 3.0
    here: dict[tuple[str, str], list[StudyRow]] = {}
    for row in rows:
        x_px, y_px = scale.place(row)
        here.setdefault((f"{round(x_px / step_px) * step_px:.1f}", f"{round(y_px / step_px) * step_px:.1f}"), []).append(row)
    ordered = sorted(here.items(), key=lambda item: any(row.scenario in best for row in item[1]))
    for (x, y), found in ordered:
        named = "; ".join(f"{row.scenario}: {row.cost_usd_per_h:,.2f} USD/h, {breaks_words(row)}" for row in found[:3])
        title = element("title", named + (f"; and {len(found) - 3} more here" if len(found) > 3 else ""))
        if all(row.unserved_rps for row in found):
            side, half = f"{2 * _POINT_PX:.1f}", _POINT_PX
            yield element(
                "rect", title, x=f"{float(x) - half:.1f}", y=f"{float(y) - half:.1f}", width=side, height=side, fill=_WRONG, class_="short"
            )
            continue
        on_front, declared = any(row.scenario in best for row in found), any(row.scenario == BASE for row in found)
        colour = _FRONT if on_front else _POINT
        ring = {"stroke": "#1a1a1a", "stroke_width": "2" if declared else "0.7"}
        sign = f"point{' best' if on_front else ''}{' declared' if declared else ''}"
        yield element("circle", title, cx=x, cy=y, r=f"{_POINT_PX + on_front + declared:.1f}", fill=colour, class_=sign, **ring)


def _numbers(scale: _Scale, front: Sequence[StudyRow]) -> Iterator[Markup]:
    """The number of a point of the front above it, where it meets no other one."""
    taken: list[tuple[float, float]] = []
    for number, row in enumerate(front[:MOST_NUMBERED], start=1):
        x_px, y_px = scale.place(row)
        at_px = (x_px - 11 if x_px > LEFT_PX + 24 else x_px + 11, max(TOP_PX + 9, y_px - 8))
        if all(abs(at_px[0] - x) > 16 or abs(at_px[1] - y) > 13 for x, y in taken):
            taken.append(at_px)
            yield svg_text(*at_px, str(number), _TEXT_PX, anchor="middle")
