"""A solved study: its rows, the best of them, and those that no other one beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from planner.plan.bounds import PlanPart, WholeNumber
from planner.spec.nearest import nearest
from ullage.study.rows import StudyRow

# What cost is weighed against, with the better direction: 1 more, -1 less.
Against = Literal["attainment", "risk", "unserved"]
_AGAINST: Mapping[Against, tuple[Callable[[StudyRow], float | None], int]] = {
    "attainment": (lambda row: row.attainment_fraction, 1),
    "risk": (lambda row: math.inf if row.breaks_at_load_factor is None else row.breaks_at_load_factor, 1),
    "unserved": (lambda row: row.unserved_rps, -1),
}

# Columns that a scenario can be the best in, with the better direction.
BEST_IN: Mapping[str, int] = {
    "cost_usd_per_h": -1,
    "bound_usd_per_h": -1,
    "gap_fraction": -1,
    "unserved_rps": -1,
    "gpus_used": -1,
    "loads_gib": -1,
    "attainment_fraction": 1,
    "breaks_at_load_factor": 1,
}


class StudyResults(PlanPart):
    """What a study found. rows begin with the fleet as declared; total counts the scenarios that were asked for, solved or not.

    settings are the paths and kinds that scenarios differ in, in their order. options says how each was planned.
    """

    schema_version: Literal[1] = 1
    fleet: str
    input_hashes: dict[str, str]
    options: dict[str, str | float | bool | None]
    settings: tuple[str, ...]
    rows: tuple[StudyRow, ...]
    total: WholeNumber

    @property
    def base(self) -> StudyRow | None:
        """The fleet as declared; None when it was not solved any more."""
        return next((row for row in self.rows if not row.settings), None)

    @property
    def complete(self) -> bool:
        """Whether every scenario was tried."""
        return len(self.rows) == self.total


def best(results: StudyResults, column: str = "cost_usd_per_h") -> StudyRow:
    """The scenario with the best figure of those that leave least unserved; of equal ones the first.

    ValueError for a column that is no figure, or when nothing was solved.
    """
    if column not in BEST_IN:
        close = nearest(column, BEST_IN)
        hint = f"did you mean {close!r}? " if close else ""
        raise ValueError(f"no scenario is best in {column[:60]!r}; {hint}figures: {', '.join(BEST_IN)}")
    solved = [row for row in results.rows if row.solved]
    least_rps = min((row.unserved_rps or 0.0 for row in solved), default=0.0)
    having = [row for row in solved if (row.unserved_rps or 0.0) <= least_rps + 1e-9]
    figures = [(row, _figure(row, column)) for row in having]
    known = [(row, figure) for row, figure in figures if figure is not None]
    if not known:
        raise ValueError(f"no scenario has a {column}{'; study with verify' if column == 'attainment_fraction' else ''}")
    return max(known, key=lambda item: item[1] * BEST_IN[column])[0]


def check_against(against: str, *, simulated: bool) -> Against:
    """What cost is to be weighed against; ValueError for a word that there is not, or for what needs a simulation that nobody makes."""
    for word in _AGAINST:
        if word == against:
            if word == "attainment" and not simulated:
                raise ValueError(
                    "nothing is simulated, so there is no attainment; study with verify (--verify), or weigh cost against risk"
                )
            return word
    close = nearest(against, _AGAINST)
    hint = f"did you mean {close!r}? " if close else ""
    raise ValueError(f"cost is not weighed against {against[:60]!r}; {hint}there are: {', '.join(_AGAINST)}")


def pareto(results: StudyResults, against: str = "risk") -> tuple[StudyRow, ...]:
    """The scenarios that none of the others beats in both cost and what it is weighed against, cheapest first.

    attainment: the smallest simulated share of requests within their goals (needs verify). risk: the growth of demand that breaks the first
    workload. unserved: requests/s that are not served. Scenarios with unserved demand are on no front but the last: what serves nothing
    is cheap. ValueError for another word, or without simulation.
    """
    simulated = any(row.attainment_fraction is not None for row in results.rows)
    figure, better = _AGAINST[check_against(against, simulated=simulated)]
    rows = [row for row in results.rows if row.solved and (against == "unserved" or not row.unserved_rps)]
    points = [(row.cost_usd_per_h or 0.0, -better * value, row) for row in rows if (value := figure(row)) is not None]
    front: list[StudyRow] = []
    worst = math.inf
    for _, value, row in sorted(points, key=lambda point: point[:2]):
        if value < worst:
            worst = value
            front.append(row)
    return tuple(front)


def _figure(row: StudyRow, column: str) -> float | None:
    if column == "breaks_at_load_factor":
        return math.inf if row.breaks_at_load_factor is None else row.breaks_at_load_factor
    value = getattr(row, column)
    return None if value is None else float(value)
