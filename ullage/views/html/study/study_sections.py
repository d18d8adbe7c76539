"""What a study's page tells beyond the scenarios: the fronts, who yields, what is lost at once, GPUs by type, and why there is no plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ullage.study.results import StudyResults, pareto
from ullage.study.rows import StudyRow
from ullage.views.html.markup import Markup, element
from ullage.views.html.number_words import count_words, percent_words
from ullage.views.html.table_markup import html_table
from ullage.views.study.study_text import breaks_at

# Rows of a table, and parts of a cell; the study's files have all.
_MOST_ROWS, _MOST_PARTS = 200, 12


def front_table(results: StudyResults, against: str) -> Iterator[Markup]:
    """The scenarios that none beats in both; nothing for attainment where nothing was simulated."""
    if against == "attainment" and all(row.attainment_fraction is None for row in results.rows):
        return
    front = pareto(results, against)
    if not front:
        yield element("p", "No scenario serves everything, so there is no front.")
        return
    head, words = ("goals met", _attained) if against == "attainment" else ("breaks at", breaks_at)
    rows = [
        [row.scenario, str(number), f"{row.cost_usd_per_h:,.2f}", words(row), row.binding]
        for number, row in enumerate(front[:_MOST_ROWS], start=1)
    ]
    caption = f"Front of cost against {against}: no other scenario is better in both"
    yield html_table(caption, ("scenario", "no.", "USD/h", head, "what binds"), rows, numbers=(1, 2, 3))
    yield from _more(len(front))


def _attained(row: StudyRow) -> str:
    return percent_words(row.attainment_fraction or 0.0, 2)


def yields_section(results: StudyResults) -> Iterator[Markup]:
    """Demand that is not served: by workload over all scenarios, then by scenario."""
    worst: dict[str, tuple[int, float, str]] = {}
    for row in results.rows:
        for name, rate_rps in row.by_workload_rps.items():
            times, most_rps, where = worst.get(name, (0, 0.0, ""))
            worst[name] = (times + 1, *((rate_rps, row.scenario) if rate_rps > most_rps else (most_rps, where)))
    if not worst:
        yield element("p", "Nobody: each scenario that has a plan serves all demand.")
        return
    ordered = sorted(worst.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    rows = [[name, f"{times:,}", f"{most_rps:,.2f}", where] for name, (times, most_rps, where) in ordered[:_MOST_ROWS]]
    yield html_table("Who yields, by workload", ("workload", "scenarios", "most unserved requests/s", "in scenario"), rows, numbers=(1, 2))
    yield from _more(len(ordered))
    yield from _mapped(results, lambda row: row.by_workload_rps, "Unserved requests/s, by scenario", "workloads", "{:,.2f}")


def lost_section(results: StudyResults) -> Iterator[Markup]:
    """What is gone at once, before anything is planned anew."""
    if any(row.lost_at_once_rps for row in results.rows):
        yield element("p", "Until it is planned and started anew, these requests/s have no replica left.")
        yield from _mapped(results, lambda row: row.lost_at_once_rps, "Lost at once, by scenario", "models", "{:,.2f}")
    else:
        yield element("p", "Nothing: no scenario loses nodes whose load the others cannot take at once.")


def types_section(results: StudyResults) -> Iterator[Markup]:
    """How many GPUs of each type are used."""
    types = list(dict.fromkeys(name for row in results.rows for name in row.gpus_by_type))
    solved = [row for row in results.rows if row.solved]
    if not types:
        yield element("p", "No scenario uses a GPU.")
        return
    rows = []
    for name in types:
        counts = [row.gpus_by_type.get(name, 0) for row in solved]
        base = results.base.gpus_by_type.get(name, 0) if results.base is not None and results.base.solved else None
        using = sum(count > 0 for count in counts)
        rows.append([name, "-" if base is None else f"{base:,}", f"{min(counts):,}", f"{max(counts):,}", f"{using:,} of {len(solved):,}"])
    heads = ("type", "as declared", "fewest", "most", "scenarios that use it")
    yield html_table("GPUs in use, by type", heads, rows, numbers=(1, 2, 3, 4))
    if len(types) > 1:
        yield from _mapped(results, lambda row: row.gpus_by_type, "GPUs in use, by scenario", "types", "{:,.0f}", sums="GPUs")


def problems_section(results: StudyResults) -> Iterator[Markup]:
    """The scenarios without a plan."""
    failed = [row for row in results.rows if not row.solved]
    if not failed:
        yield element("p", "None: each scenario that was tried has a plan.")
        return
    rows = [[row.scenario, (row.problem or "")[:2000]] for row in failed[:_MOST_ROWS]]
    yield html_table("Scenarios without a plan", ("scenario", "reason"), rows)
    yield from _more(len(failed))


def made_section(results: StudyResults) -> Iterator[Markup]:
    """Options, settings and the hashes of the input."""
    rows = [[name, "-" if value is None else str(value)] for name, value in results.options.items()]
    rows += [["settings", ", ".join(results.settings) or "-"]]
    yield html_table("How each scenario was planned", ("option", "value"), rows)
    yield html_table("Input, by its SHA-256", ("input", "SHA-256"), list(map(list, results.input_hashes.items())))


def _mapped(
    results: StudyResults, of: Callable[[StudyRow], Mapping[str, float]], caption: str, head: str, form: str, *, sums: str = "requests/s"
) -> Iterator[Markup]:
    """A row for each scenario in which something is mapped, the most first in its cell."""
    found = [row for row in results.rows if of(row)]
    rows = [[row.scenario, form.format(sum(of(row).values())), _listed(of(row), form)] for row in found[:_MOST_ROWS]]
    yield html_table(caption, ("scenario", sums, head), rows, numbers=(1,))
    yield from _more(len(found))


def _listed(mapping: Mapping[str, float], form: str) -> str:
    ordered: Sequence[tuple[str, float]] = sorted(mapping.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - _MOST_PARTS} more" if len(ordered) > _MOST_PARTS else ""
    return ", ".join(f"{name} {form.format(value)}" for name, value in ordered[:_MOST_PARTS]) + more


def _more(count: int) -> Iterator[Markup]:
    if count > _MOST_ROWS:
        yield element("p", f"{count_words(count - _MOST_ROWS, 'more row')} in the study's files.", class_="hint")
