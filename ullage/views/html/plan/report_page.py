"""A plan as one page to send around or print: nothing is loaded, and no script runs in it."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired, Plan
from ullage.views.html.markup import Markup, element, joined, listed_items
from ullage.views.html.page_frame import PageSection, page_frame
from ullage.views.html.plan.cost_table import cost_table, proof_table
from ullage.views.html.plan.fleet_map import fleet_map
from ullage.views.html.plan.headline_figures import headline_figures
from ullage.views.html.plan.model_section import model_section
from ullage.views.html.plan.moves_section import moves_section
from ullage.views.html.plan.node_section import node_section
from ullage.views.html.plan.origin_section import origin_section
from ullage.views.html.plan.saving_chart import saving_chart
from ullage.views.html.plan.slo_table import attainment_legend, slo_table
from ullage.views.html.plan.wrong_first import all_is_well, wrong_first
from ullage.views.plan.plan_text import headline, one_more_line
from ullage.views.plan.simulated_text import simulated_lines
from ullage.views.plan.volumes_text import volume_lines
from ullage.views.plan.windows_text import window_lines


def report_page(plan: Plan) -> str:
    """A whole HTML5 document; the same plan gives the same bytes."""
    desired = plan.desired
    return page_frame(
        title=f"Plan: {desired.gpus_used} of {len(desired.gpus)} GPUs, {desired.cost_usd_per_h:,.2f} USD/h",
        head="Which model servers share which GPU",
        lead=headline(desired),
        sections=_sections(plan),
        target=("plan", "Skip to the plan"),
        foot="Made by ullage from a plan file. The plan file has all of this in full.",
    )


def _sections(plan: Plan) -> list[PageSection]:
    """Id, name and content of each, in the order of the page."""
    desired = plan.desired
    return [
        ("summary", "Summary", (headline_figures(desired),)),
        ("wrong", "What is wrong", tuple(wrong_first(desired)) or (all_is_well(desired),)),
        ("fleet", "Fleet", (fleet_map(desired, 3),)),
        ("moves", "Before and after", tuple(moves_section(plan))),
        ("cost", "Cost against simpler methods", (cost_table(desired), *_lines(window_lines(desired)))),
        ("saving", "Where the saving comes from", tuple(saving_chart(desired))),
        (
            "forecast",
            "Forecast",
            (
                slo_table(desired),
                attainment_legend(desired),
                *_lines(volume_lines(desired)),
                *_lines(simulated_lines(desired)),
                *_band(desired),
            ),
        ),
        ("reasons", "Why each model runs as it does", tuple(model_section(desired))),
        ("nodes", "If a node is lost", tuple(node_section(desired))),
        ("more", "What one more GPU buys", tuple(_one_more(desired))),
        ("origin", "How the plan was made", (proof_table(desired), *origin_section(plan))),
    ]


def _lines(lines: Iterator[str]) -> Iterator[Markup]:
    """A text of a head and lines below it as a paragraph and a list; nothing where it is empty."""
    head, *others = [line.strip() for line in lines] or [""]
    if head:
        yield joined([element("p", head), listed_items(others)])


def _band(desired: Desired) -> Iterator[Markup]:
    """The cost with faster and slower engines."""
    band = desired.certificate.cost_band
    if band is None:
        return
    least_usd_per_h, most_usd_per_h = sorted((band.p10_usd_per_h, band.p90_usd_per_h))
    scale_usd_per_h = max(most_usd_per_h, desired.cost_usd_per_h) or 1.0
    edges = [0.0, least_usd_per_h / scale_usd_per_h, most_usd_per_h / scale_usd_per_h, 1.0]
    parts = [
        element("i", class_=sign or None, style=f"flex:{edges[place + 1] - edges[place]:.4f}")
        for place, sign in enumerate(("", "high", ""))
    ]
    line = element("u", style=f"left:{desired.cost_usd_per_h / scale_usd_per_h * 100:.1f}%")
    picture = element("span", *parts, line, class_="meter wide")
    words = (
        f" Cost of this fleet if step times are at p10 and p90 of their band: {band.p10_usd_per_h:,.2f} and {band.p90_usd_per_h:,.2f} USD/h"
        f" (unserved {band.p10_unserved_rps:.2f} and {band.p90_unserved_rps:.2f} requests/s); the line is this plan."
    )
    yield element("p", picture, words)


def _one_more(desired: Desired) -> Iterator[Markup]:
    """One sentence for each pool that was asked about, and the conflicts that keep demand out."""
    reasons = desired.explanation
    found = reasons.one_more if reasons is not None else ()
    if found:
        yield listed_items(one_more_line(desired, item) for item in found)
    else:
        yield element("p", "Nobody asked. ", element("code", "ullage plan --explain"), " finds what one more GPU of each full pool buys.")
    for conflict in reasons.conflicts if reasons is not None else ():
        if conflict.members:
            yield element("p", f"These cannot all be met ({conflict.served_name}):")
            yield listed_items(conflict.members)
