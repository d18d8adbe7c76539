"""A study as a fragment of HTML, as a notebook shows it."""

from __future__ import annotations

from ullage.study.results import StudyResults
from ullage.views.html.markup import Markup, element
from ullage.views.html.study.scenario_table import scenario_table
from ullage.views.html.study.study_charts import CHART_STYLE, scatter_chart
from ullage.views.html.study.study_tiles import study_tiles
from ullage.views.html.stylesheet import stylesheet
from ullage.views.study.study_text import MOST_ROWS, headline


def study_html(results: StudyResults) -> str:
    """One root element with its own style; no scripts, no ids, nothing loaded. The same study gives the same bytes."""
    parts = [
        element("style", Markup(stylesheet() + CHART_STYLE)),
        element("p", element("b", headline(results))),
        study_tiles(results),
        element("h3", "Scenarios"),
        *scenario_table(results, MOST_ROWS),
        element("h3", "Cost against risk"),
        scatter_chart(results),
    ]
    return element("div", *parts, class_="ullage") + "\n"
