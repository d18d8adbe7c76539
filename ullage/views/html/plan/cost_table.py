"""What a plan costs compared with simpler methods, and how near to the best possible it is proven."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Baseline, Desired
from ullage.views.html.markup import Markup, element
from ullage.views.html.number_words import percent_words
from ullage.views.html.table_markup import html_table
from ullage.views.plan.plan_text import NEVER_FITS


def cost_table(desired: Desired) -> Markup:
    """The plan and its baselines, each with a bar to one scale."""
    most_usd_per_h = max([desired.cost_usd_per_h, *(item.cost_usd_per_h for item in desired.certificate.baselines.values())])
    rows = [
        [name, str(gpus), f"{cost_usd_per_h:,.2f}", _bar(cost_usd_per_h, most_usd_per_h, own=place == 0), f"{unserved_rps:.2f}", note]
        for place, (name, gpus, cost_usd_per_h, unserved_rps, note) in enumerate(_methods(desired))
    ]
    return html_table(
        "Cost compared with simpler methods",
        ("method", "GPUs", "USD/h", "to scale", "unserved requests/s", "note"),
        rows,
        numbers=(1, 2, 4),
    )


def _methods(desired: Desired) -> Iterator[tuple[str, int, float, float, str]]:
    yield "this plan", desired.gpus_used, desired.cost_usd_per_h, sum(item.unserved_rps for item in desired.workloads), ""
    for name, item in desired.certificate.baselines.items():
        yield name, item.gpus, item.cost_usd_per_h, item.unserved_rps, _note(item)


def _note(item: Baseline) -> str:
    if item.fits:
        return ""
    return NEVER_FITS if item.unserved_rps > 0 else "does not fit the pools; priced as if they were large enough"


def _bar(cost_usd_per_h: float, most_usd_per_h: float, *, own: bool) -> Markup:
    part = cost_usd_per_h / most_usd_per_h if most_usd_per_h else 0.0
    filled = element("i", class_="own" if own else "other", style=f"flex:{part:.4f}")
    return element("span", filled, element("i", style=f"flex:{1 - part:.4f}"), class_="meter wide")


def proof_table(desired: Desired) -> Markup:
    """The goals in their order, with what was reached, the bound and the gap."""
    rows = [
        [
            tier.goal,
            f"{tier.value:,.6g}",
            f"{tier.bound:,.6g}",
            percent_words(tier.gap_fraction, 2),
            "searched for" if tier.optimised else "bound only: no search tried to meet it",
        ]
        for tier in desired.certificate.tiers
    ]
    return html_table("Goals in their order", ("goal", "value", "bound", "gap", "how"), rows, numbers=(1, 2, 3))
