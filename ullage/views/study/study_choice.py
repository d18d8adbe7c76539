"""What of a study is shown where not all of it can be: the fleet as declared, the front, the best and the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ullage.study.results import StudyResults, pareto
from ullage.study.rows import StudyRow
from ullage.views.study.study_text import breaks_at, cut_middle

# Longest reason in a row; the list of scenarios without a plan has more of it.
_MOST_LETTERS = 300


def shown_rows(results: StudyResults, most: int) -> tuple[list[StudyRow], int]:
    """At most so many rows in their order, and how many are left out."""
    rows = results.rows
    if len(rows) <= most:
        return list(rows), 0
    place = {id(row): at for at, row in enumerate(rows)}
    cheapest, wrong = by_cost(serving(rows)), failing(rows)
    unserved, without = [row for row in wrong if row.solved], [row for row in wrong if not row.solved]
    share = max(1, most // 4)
    base = [results.base] if results.base is not None else []
    chosen: dict[int, StudyRow] = {}
    for row in (
        *base,
        *pareto(results)[:share],
        *unserved[: share // 2],
        *without[: share // 4],
        *cheapest[:share],
        *reversed(cheapest),
        *wrong,
    ):
        if len(chosen) < most:
            chosen.setdefault(place[id(row)], row)
    return [row for _, row in sorted(chosen.items())], len(rows) - len(chosen)


def left_out_words(left_out: int) -> str:
    """What was left out by what rule; empty where nothing was."""
    if not left_out:
        return ""
    one = "scenario is" if left_out == 1 else "scenarios are"
    return f"{left_out:,} {one} left out here. Shown are the fleet as declared, the front, the cheapest, the dearest and the worst served."


def serving(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """The scenarios that serve everything."""
    return [row for row in rows if row.solved and not row.unserved_rps]


def failing(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """The scenarios without a plan, and those that leave demand unserved, with the most first."""
    bad = [row for row in rows if not row.solved or row.unserved_rps]
    return sorted(bad, key=lambda row: (row.solved, -(row.unserved_rps or 0.0)))


def by_cost(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """The cheapest first; of equal ones in their order."""
    return sorted(rows, key=lambda row: row.cost_usd_per_h or 0.0)


def most_cost_usd_per_h(rows: Sequence[StudyRow]) -> float:
    """What the longest bar stands for; never 0."""
    return max([row.cost_usd_per_h or 0.0 for row in rows], default=0.0) or 1.0


def first_line(problem: str | None) -> str:
    """Why there is no plan, in a line."""
    lines = (problem or "").splitlines() or [""]
    return cut_middle(lines[0], _MOST_LETTERS) + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def breaks_words(row: StudyRow) -> str:
    """When the first goal breaks, as part of a sentence."""
    known = row.unserved_rps or row.breaks_at_load_factor is not None
    return f"breaks {'' if row.unserved_rps or not known else 'at '}{breaks_at(row)}"
