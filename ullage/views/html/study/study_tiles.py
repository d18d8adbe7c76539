"""A study in five numbers."""

from __future__ import annotations

from collections.abc import Iterator

from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.views.html.markup import Markup, element
from ullage.views.html.number_words import count_words, usd_words
from ullage.views.study.study_choice import by_cost, serving
from ullage.views.study.study_text import cut_middle

# Longest name in a tile.
_MOST_LETTERS = 90


def study_tiles(results: StudyResults) -> Markup:
    """Scenarios planned, the cheapest, the dearest, the cost as declared, and those in which something is wrong, as a list of terms."""
    tiles = (
        element(
            "div", element("dt", name), element("dd", element("b", figure), element("span", element("bdi", note))), class_=f"tile{mark}"
        )
        for name, figure, note, mark in _figures(results)
    )
    return element("dl", *tiles, class_="tiles")


def _figures(results: StudyResults) -> Iterator[tuple[str, str, str, str]]:
    """Name, figure, note and class of each."""
    solved = [row for row in results.rows if row.solved]
    failed, left = len(results.rows) - len(solved), results.total - len(results.rows)
    yield "Scenarios planned", f"{len(solved):,} of {results.total:,}", f"stopped early, {left:,} left" if left else "all were tried", ""
    cheapest = by_cost(serving(solved))
    yield "Cheapest that serves everything", *_named(cheapest[0] if cheapest else None, "no scenario serves everything"), ""
    dearest = max(solved, key=lambda row: row.cost_usd_per_h or 0.0, default=None)
    yield "Dearest", *_named(dearest, "nothing was planned"), ""
    base = results.base
    declared = "the fleet file without changes" if base is not None and base.solved else "the fleet as declared has no plan"
    yield "As declared", _named(base, "")[0], declared, ""
    short = sum(bool(row.unserved_rps) for row in solved)
    words = f"{count_words(short, 'scenario')} with unserved demand, {failed:,} without a plan"
    yield "Not served in full", f"{short + failed:,}", words, " wrong" if short + failed else ""


def _named(row: StudyRow | None, otherwise: str) -> tuple[str, str]:
    if row is None or row.cost_usd_per_h is None:
        return "-", otherwise
    return usd_words(row.cost_usd_per_h), cut_middle(row.scenario, _MOST_LETTERS)
