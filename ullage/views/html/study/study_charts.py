"""The charts of a study inside a page, in the colours of the page."""

from __future__ import annotations

from collections.abc import Iterator

from ullage.study.results import StudyResults
from ullage.views.html.markup import Markup, element
from ullage.views.study.study_heat import grid_words, heat_grid, heat_map
from ullage.views.study.study_scatter import SCATTER_HEIGHT_PX, SCATTER_WIDTH_PX, scatter_words, study_scatter

# Colours of the page instead of those of a file, and the bars of the table.
CHART_STYLE = """
.ullage .chart{display:block;width:100%;max-width:700px;height:auto;margin:8px 0}
.ullage .chart .ink{fill:var(--fg)}.ullage .chart .dim{fill:var(--dim)}
.ullage .chart .grid{stroke:var(--line)}
.ullage .chart .point{stroke:var(--fg)}
.ullage .chart .short{fill:var(--bad)}
.ullage .chart .cell{stroke:var(--bg)}
.ullage .meter.cost{width:170px;height:14px;vertical-align:-2px}
.ullage .meter u.declared{border-left:1px dashed var(--fg)}
.ullage .scenarios table.tab th[scope=row]{min-width:20em}
.ullage .scenarios table.tab td:last-child{min-width:15em}
.ullage .group{margin:4px 0}
@media (max-width:640px){.ullage .scenarios table.tab th[scope=row]{min-width:9em}}
@media print{.ullage .meter.cost{width:90px}
.ullage .scenarios table.tab th[scope=row]{min-width:12em}
.ullage .scenarios table.tab td:last-child{min-width:11em}}
"""


def scatter_chart(results: StudyResults) -> Markup:
    """Cost against risk; a sentence where nothing was planned."""
    drawn = study_scatter(results)
    if not drawn:
        return element("p", "No scenario has a plan.")
    return _chart(drawn, SCATTER_WIDTH_PX, SCATTER_HEIGHT_PX, scatter_words(results))


def heat_chart(results: StudyResults) -> Iterator[Markup]:
    """The map of cost over two settings; nothing where the study is none."""
    grid = heat_grid(results)
    if grid is not None:
        yield _chart(heat_map(grid), grid.width_px, grid.height_px, grid_words(grid))


def _chart(drawn: Markup, width_px: float, height_px: float, words: str) -> Markup:
    return element(
        "svg", drawn, viewBox=f"0 0 {max(width_px, SCATTER_WIDTH_PX):.0f} {height_px:.0f}", role="img", aria_label=words, class_="chart"
    )
