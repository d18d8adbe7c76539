"""What is wrong with a plan, before all else: demand that is not served and why, promises that the simulation denies, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Desired
from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.plan.plan_text import short_lines, unserved_line
from ullage.views.plan.simulated_text import simulated_lines


def wrong_first(desired: Desired) -> Iterator[Markup]:
    """A box for what is wrong; nothing where all is well."""
    lines = [line.strip() for line in short_lines(desired)]
    lines += [line.strip() for line in simulated_lines(desired) if "falls short" in line or "best effort" in line]
    lines += desired.warnings
    if lines:
        head = unserved_line(desired) or "What to know first"
        yield element("div", element("p", head, class_="bad"), listed_items(lines), class_="first")


def all_is_well(desired: Desired) -> Markup:
    """The sentence where nothing is wrong."""
    verdict = next(simulated_lines(desired), "")
    return element("p", f"Nothing: all demand is served, and there are no warnings.{f' {verdict}.' if verdict else ''}")
