"""A study as one page to send around or print: nothing is loaded, and no script runs in it."""

from __future__ import annotations

from ullage.study.results import StudyResults
from ullage.views.html.markup import Markup
from ullage.views.html.page_frame import PageSection, page_frame
from ullage.views.html.study.scenario_table import scenario_table
from ullage.views.html.study.study_charts import CHART_STYLE, heat_chart, scatter_chart
from ullage.views.html.study.study_sections import front_table, lost_section, made_section, problems_section, types_section, yields_section
from ullage.views.html.study.study_tiles import study_tiles
from ullage.views.study.study_text import headline


def study_page(results: StudyResults) -> str:
    """A whole HTML5 document; the same study gives the same bytes."""
    return page_frame(
        title=f"Study of {results.fleet}: {len(results.rows):,} scenarios",
        head="What each change of the fleet costs",
        lead=headline(results),
        sections=_sections(results),
        target=("study", "Skip to the study"),
        foot="Made by ullage from a study. Its files have all of this in full.",
        style=CHART_STYLE,
    )


def _sections(results: StudyResults) -> list[PageSection]:
    """Id, name and content of each, in the order of the page."""
    charts: tuple[Markup, ...] = (*front_table(results, "risk"), *front_table(results, "attainment"))
    return [
        ("summary", "Summary", (study_tiles(results),)),
        ("risk", "Cost against risk", (scatter_chart(results), *charts)),
        *([("both", "Cost over both settings", heat)] if (heat := tuple(heat_chart(results))) else []),
        ("scenarios", "Scenarios", tuple(scenario_table(results))),
        ("yields", "Who yields", tuple(yields_section(results))),
        ("lost", "What is lost at once", tuple(lost_section(results))),
        ("types", "Which GPUs are used", tuple(types_section(results))),
        ("problems", "Without a plan", tuple(problems_section(results))),
        ("origin", "How it was made", tuple(made_section(results))),
    ]
