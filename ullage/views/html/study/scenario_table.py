"""The scenarios of a study as a table, each with its cost as a bar to one scale; in groups where there are very many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.views.html.markup import Markup, element, joined
from ullage.views.html.number_words import count_words, percent_words, range_words
from ullage.views.html.table_markup import html_table
from ullage.views.study.study_choice import by_cost, first_line, left_out_words, most_cost_usd_per_h, shown_rows
from ullage.views.study.study_text import against_base, breaks_at

# Beyond so many rows they stand in groups that open, and beyond so many the others are in the study's files only.
MOST_UNGROUPED, MOST_IN_PAGE = 500, 5000
CAPTION = "Scenarios"
_HINT = (
    "Bars are costs to one scale. The orange tick is the bound: no plan can be cheaper. Dashes: cost as declared, which changes refer to. "
    "Unserved demand is in requests/s."
)
_HEADS = ("scenario", "USD/h", "to scale", "change", "gap", "GPUs", "unserved/s", "breaks at")


def scenario_table(results: StudyResults, most: int = MOST_IN_PAGE) -> Iterator[Markup]:
    """One table, or one for each value of the first setting where there are very many; and what is left out."""
    rows, left_out = shown_rows(results, most)
    yield element("p", _HINT, class_="hint")
    if left_out:
        yield element("p", left_out_words(left_out), " All are in the study's files.")
    most_usd_per_h = most_cost_usd_per_h(rows)
    if len(rows) <= MOST_UNGROUPED:
        yield _table(results, rows, CAPTION, most_usd_per_h)
        return
    for name, found in _groups(rows).items():
        inside = _table(results, found, f"{CAPTION}: {name}", most_usd_per_h)
        yield element("details", element("summary", element("b", element("bdi", name)), _summed(found)), inside, class_="group")


def _groups(rows: Sequence[StudyRow]) -> dict[str, list[StudyRow]]:
    """By the value of the first setting."""
    groups: dict[str, list[StudyRow]] = {}
    for row in rows:
        name = next((f"{path}={value}" for path, value in row.settings.items()), row.scenario)
        groups.setdefault(name, []).append(row)
    return groups


def _summed(rows: Sequence[StudyRow]) -> str:
    costs = [f"{row.cost_usd_per_h:,.2f}" for row in by_cost(row for row in rows if row.solved)]
    bad = sum(not row.solved or bool(row.unserved_rps) for row in rows)
    cost = f", {range_words([costs[0], costs[-1]])} USD/h" if costs else ""
    return f": {count_words(len(rows), 'scenario')}{cost}{f', {bad:,} not served in full' if bad else ''}"


def _table(results: StudyResults, rows: Sequence[StudyRow], caption: str, most_usd_per_h: float) -> Markup:
    simulated = any(row.attainment_fraction is not None for row in results.rows)
    heads = (*_HEADS, *(("goals met",) if simulated else ()), "what binds")
    base = results.base
    cells = [_cells(row, base, most_usd_per_h, simulated=simulated) for row in rows]
    numbers = (1, 3, 4, 5, 6, 7, *((8,) if simulated else ()))
    return element("div", html_table(caption, heads, cells, numbers=numbers), class_="scenarios")


def _cells(row: StudyRow, base: StudyRow | None, most_usd_per_h: float, *, simulated: bool) -> list[str]:
    if not row.solved:
        dashes = ["-"] * (len(_HEADS) - 1 + simulated)
        return [row.scenario, *dashes, joined([element("b", "no plan: ", class_="bad"), element("bdi", first_line(row.problem))])]
    base_usd_per_h = base.cost_usd_per_h if base is not None else None
    unserved = element("b", f"{row.unserved_rps:,.2f}", class_="bad") if row.unserved_rps else "-"
    attained = [percent_words(row.attainment_fraction, 1) if row.attainment_fraction is not None else "-"] if simulated else []
    return [
        row.scenario,
        f"{row.cost_usd_per_h:,.2f}",
        _bar(row, base_usd_per_h, most_usd_per_h),
        against_base(row, base),
        percent_words(row.gap_fraction or 0.0, 2),
        f"{row.gpus_used:,} of {row.gpus_total:,}",
        unserved,
        breaks_at(row),
        *attained,
        row.binding,
    ]


def _bar(row: StudyRow, base_usd_per_h: float | None, most_usd_per_h: float) -> Markup:
    part = (row.cost_usd_per_h or 0.0) / most_usd_per_h
    marks = [element("u", style=f"left:{_percent(row.bound_usd_per_h or 0.0, most_usd_per_h)}%")]
    if base_usd_per_h is not None:
        marks.append(element("u", class_="declared", style=f"left:{_percent(base_usd_per_h, most_usd_per_h)}%"))
    filled = element("i", class_="own", style=f"flex:{part:.4f}")
    return element("span", filled, element("i", style=f"flex:{1 - part:.4f}"), *marks, class_="meter cost")


def _percent(usd_per_h: float, most_usd_per_h: float) -> str:
    return f"{min(100.0, usd_per_h / most_usd_per_h * 100):.1f}"
