"""A study as text: a row per scenario with what it costs against the fleet as declared, what stays unserved, and what is full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.study.scenarios import BASE
from ullage.views.words import table

# Rows beyond which a terminal shows the first and says how many there are more.
MOST_ROWS = 60
# Longest name of a scenario.
_MOST_LETTERS = 72


def study_text(results: StudyResults, front: Sequence[StudyRow] = (), against: str = "") -> str:
    """The table, what could not be planned, and the front; ends in a newline."""
    sections = [
        [headline(results)],
        list(table(list(_rows(results, {row.scenario for row in front})))),
        list(_more(results)),
        list(_problems(results)),
        list(_unserved(results)),
        list(_at_once(results)),
        [f"* on the front of cost against {against}: none of the others is better in both"] if front else [],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def headline(results: StudyResults) -> str:
    """How many scenarios of which fleet."""
    solved = sum(row.solved for row in results.rows)
    ended = "" if results.complete else f"; stopped early, {results.total - len(results.rows)} are left"
    failed = len(results.rows) - solved
    return f"{results.fleet}: {solved} of {results.total} scenarios planned{f', {failed} could not be' if failed else ''}{ended}"


def _rows(results: StudyResults, front: set[str]) -> Iterator[tuple[str, ...]]:
    simulated = any(row.attainment_fraction is not None for row in results.rows)
    more = ("attainment",) if simulated else ()
    yield ("scenario", "USD/h", "against declared", "gap", "GPUs", "unserved/s", "breaks at", *more, "binding")
    for row in results.rows[:MOST_ROWS]:
        name = f"{cut_middle(row.scenario, _MOST_LETTERS)}{' *' if row.scenario in front else ''}"
        if not row.solved:
            yield (name, "-", "-", "-", "-", "-", "-", *("-" for _ in more), "no plan, see below")
            continue
        attained = (f"{row.attainment_fraction:.2%}" if row.attainment_fraction is not None else "-",) if simulated else ()
        yield (
            name,
            f"{row.cost_usd_per_h:.2f}",
            against_base(row, results.base),
            f"{row.gap_fraction:.2%}",
            f"{row.gpus_used} of {row.gpus_total}",
            f"{row.unserved_rps:.2f}" if row.unserved_rps else "-",
            breaks_at(row),
            *attained,
            row.binding,
        )


def against_base(row: StudyRow, base: StudyRow | None) -> str:
    """The difference in cost to the fleet as declared."""
    if base is None or base.cost_usd_per_h is None or row.cost_usd_per_h is None or row.scenario == BASE:
        return "-"
    more = row.cost_usd_per_h - base.cost_usd_per_h
    part = f" ({more / base.cost_usd_per_h:+.0%})" if base.cost_usd_per_h else ""
    return f"{more:+.2f}{part}"


def breaks_at(row: StudyRow) -> str:
    """The growth of demand that breaks the first goal."""
    if row.unserved_rps:
        return "now"
    return "beyond x32" if row.breaks_at_load_factor is None else f"x{row.breaks_at_load_factor:.2f}"


def cut_middle(text: str, most: int) -> str:
    """The text, or its two ends: names of scenarios differ in both."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"


def _more(results: StudyResults) -> Iterator[str]:
    if len(results.rows) > MOST_ROWS:
        yield f"{len(results.rows) - MOST_ROWS} more rows: give -o DIR for all of them as csv, parquet and json"


def _problems(results: StudyResults) -> Iterator[str]:
    failed = [row for row in results.rows if not row.solved]
    if failed:
        yield "No plan"
    for row in failed[:MOST_ROWS]:
        lines = (row.problem or "").splitlines()
        yield f"  {row.scenario}: {lines[0]}{f' (and {len(lines) - 1} more)' if len(lines) > 1 else ''}"


def _unserved(results: StudyResults) -> Iterator[str]:
    """Who yields: what each scenario leaves unserved, workload by workload, beyond what is unserved as declared."""
    before = results.base.by_workload_rps if results.base is not None else {}
    short = [row for row in results.rows if any(rate > before.get(name, 0.0) + 1e-9 for name, rate in row.by_workload_rps.items())]
    if short:
        yield "Who yields (requests/s unserved)"
    for row in short[:MOST_ROWS]:
        yield f"  {row.scenario}: {_listed(row.by_workload_rps)}"


def _at_once(results: StudyResults) -> Iterator[str]:
    hurt = [row for row in results.rows if row.lost_at_once_rps]
    if hurt:
        yield "Lost at once, until it is planned and started anew (requests/s of each model)"
    for row in hurt[:MOST_ROWS]:
        yield f"  {row.scenario}: {_listed(row.lost_at_once_rps)}"


def _listed(rates_rps: dict[str, float]) -> str:
    shown = sorted(rates_rps.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(f"{name} {rate:.2f}" for name, rate in shown[:8]) + more
