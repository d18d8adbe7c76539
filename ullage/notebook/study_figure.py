"""The figure of a study: what each scenario costs, and cost against risk. Importing this module needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ullage.notebook.figures import ShownFigure
from ullage.study.results import StudyResults, pareto
from ullage.study.rows import StudyRow
from ullage.views.plan.plan_svg import KV, WEIGHTS, WRONG
from ullage.views.study.study_text import cut_middle, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _BAR_IN, _LEAST_IN = 13.0, 0.28, 3.0
# Scenarios beyond which bars are too thin to be read: the others are in the frame.
_MOST_BARS = 60
_MOST_LETTERS = 56
# Where a scenario stands that no growth up to 32 times breaks.
_BEYOND = 32.0


def study_figure(results: StudyResults) -> Figure:
    """Left one bar per scenario, with its bound as a tick; right cost against the growth of demand that breaks the first goal."""
    rows = [row for row in results.rows if row.solved]
    shown = rows[:_MOST_BARS]
    figure = ShownFigure(figsize=(_WIDTH_IN, max(_LEAST_IN, 1.5 + _BAR_IN * len(shown))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    more = f" (the first {len(shown)} of {len(rows)})" if len(shown) < len(rows) else ""
    figure.suptitle(f"{headline(results)}{more}", x=0.01, ha="left", fontsize="medium", parse_math=False)
    _bars(left, shown)
    _scatter(right, results, [row for row in rows if not row.unserved_rps])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(axes: Axes, rows: list[StudyRow]) -> None:
    places = list(range(len(rows)))
    costs = [row.cost_usd_per_h or 0.0 for row in rows]
    colours = [WRONG if row.unserved_rps else KV for row in rows]
    axes.barh(places, costs, color=colours)
    axes.plot([row.bound_usd_per_h or 0.0 for row in rows], places, "|", color="black", markersize=9, label="bound")
    axes.set_yticks(places, [cut_middle(row.scenario, _MOST_LETTERS) for row in rows], parse_math=False)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_xlabel("cost in USD/h" + ("; red: demand unserved" if WRONG in colours else ""))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _scatter(axes: Axes, results: StudyResults, rows: list[StudyRow]) -> None:
    front = [row for row in pareto(results, "risk") if row.solved]
    axes.plot([_risk(row) for row in rows], [row.cost_usd_per_h or 0.0 for row in rows], "o", color=KV)
    axes.plot(
        [_risk(row) for row in front], [row.cost_usd_per_h or 0.0 for row in front], "o-", color=WEIGHTS, label="none is better in both"
    )
    axes.set_xlabel("demand that breaks a goal (times)")
    axes.set_ylabel("cost in USD/h")
    axes.legend(loc="best", frameon=False)


def _risk(row: StudyRow) -> float:
    return _BEYOND if row.breaks_at_load_factor is None else row.breaks_at_load_factor
