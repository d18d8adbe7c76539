"""A plan as a fragment of HTML, as a notebook shows it."""

from __future__ import annotations

from planner.plan import Plan
from ullage.views.html.markup import Markup, element
from ullage.views.html.plan.cost_table import cost_table, proof_table
from ullage.views.html.plan.fleet_map import fleet_map
from ullage.views.html.plan.headline_figures import headline_figures
from ullage.views.html.plan.slo_table import attainment_legend, slo_table
from ullage.views.html.plan.wrong_first import wrong_first
from ullage.views.html.stylesheet import stylesheet
from ullage.views.plan.plan_text import headline


def plan_html(plan: Plan) -> str:
    """One root element with its own style; no scripts, no ids, nothing loaded. The same plan gives the same bytes."""
    desired = plan.desired
    parts = [
        element("style", Markup(stylesheet())),
        element("p", element("b", headline(desired))),
        headline_figures(desired),
        *wrong_first(desired),
        element("h3", "Fleet"),
        fleet_map(desired, 4),
        element("h3", "Service"),
        slo_table(desired),
        attainment_legend(desired),
        element("h3", "Cost and proof"),
        cost_table(desired),
        proof_table(desired),
    ]
    return element("div", *parts, class_="ullage") + "\n"
