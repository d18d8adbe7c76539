"""Studies for the tests of pictures and pages: grids of any size, and one in which every text is one name."""

from __future__ import annotations

from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.study.scenarios import BASE

DOWN, ACROSS = "pools.h100.nodes", "workloads.chat.rate"


def results_of(*rows: StudyRow, settings: tuple[str, ...] = (DOWN, ACROSS), total: int | None = None) -> StudyResults:
    """A study with these rows."""
    return StudyResults(
        fleet="fleet.yaml",
        input_hashes={"fleet.yaml": "a" * 64},
        options={"solver": "exact", "time_limit_s": None, "verify": True},
        settings=settings,
        rows=rows,
        total=len(rows) if total is None else total,
    )


def base_row() -> StudyRow:
    """The fleet as declared."""
    return solved_row(BASE, {}, 14.75, breaks_at=1.06)


def solved_row(
    name: str, settings: dict[str, str], cost_usd_per_h: float, *, unserved_rps: float = 0.0, breaks_at: float | None
) -> StudyRow:
    """A scenario with a plan."""
    return StudyRow(
        scenario=name,
        settings=settings,
        cost_usd_per_h=cost_usd_per_h,
        bound_usd_per_h=cost_usd_per_h * 0.9,
        gap_fraction=0.1,
        gap_goal="cost",
        unserved_rps=unserved_rps,
        by_workload_rps={"chat": unserved_rps} if unserved_rps else {},
        lost_at_once_rps={"llama-8b": 2.0} if unserved_rps else {},
        gpus_used=5,
        gpus_total=8,
        gpus_by_type={"H100-SXM-80GB": 4, "L40S": 1},
        attainment_fraction=0.9 + min(9.0, breaks_at or 0.0) / 100,
        breaks_at_load_factor=0.0 if unserved_rps else breaks_at,
        binding="compute on 3 of 5",
    )


def grid_study(count: int, across: int) -> StudyResults:
    """The fleet as declared and a grid with all that may happen: unserved demand, no plan, growth beyond x32."""
    rows = [base_row()]
    for place in range(count - 1):
        line, column = divmod(place, across)
        settings = {DOWN: str(line + 1), ACROSS: f"x{column + 1}"}
        name = ", ".join(f"{path}={value}" for path, value in settings.items())
        if place % 17 == 5:
            rows.append(StudyRow(scenario=name, settings=settings, problem="fleet.yaml: pools.h100: too few nodes\nand more"))
            continue
        grown = None if place % 29 == 3 else 1 + (place * 37 % 101) / 40
        unserved_rps = float(column) if place % 3 == 0 else 0.0
        rows.append(solved_row(name, settings, 10 + line * 0.95 + column * 1.7, unserved_rps=unserved_rps, breaks_at=grown))
    return results_of(*rows)


def named_study(name: str) -> StudyResults:
    """Every text of this study is the name, also one that no file could hold."""
    rates = {name: 1.5}
    told = {"scenario": name, "settings": {name: name, "other": name}, "binding": name, "gpus_by_type": {name: 3}}
    more = {"settings": {name: name, "other": f"{name}2"}, "by_workload_rps": rates, "lost_at_once_rps": rates, "unserved_rps": 1.5}
    row = base_row()
    served = row.model_copy(update={**told, "scenario": f"{name} 1", "settings": {f"{name}3": name}})
    without = StudyRow(scenario="failed", problem="none").model_copy(
        update={**told, "scenario": f"{name} 2", "problem": f"{name}\n{name}", "settings": {"a": name}}
    )
    found = results_of(row, served, row.model_copy(update={**told, **more}), without)
    return found.model_copy(update={"fleet": name, "settings": (name,), "options": {name: name}, "input_hashes": {name: "0" * 64}})
