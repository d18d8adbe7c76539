"""A study of the demo fleet: warm from neighbour to neighbour on all cores, against cold plans of the same scenarios.

    python -m benchmarks.whatif [FLEET] [--scenarios N] [--workers N]

Settings are the number of nodes and the demand of workloads, as an analyst would vary them. Each scenario is also planned cold in this
process: alone, nothing kept from another one. The last line of standard output is one JSON object: study_s is the wall clock of the study,
processes and all; warm_s and cold_s are processor time of the same scenarios one after the other; worst_cost_difference_fraction is the
largest difference of a scenario's two costs, and allowed_fraction the largest gap that either of them states.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from ullage.fleet_spec import load
from ullage.study.question import StudyQuestion
from ullage.study.rows import StudyRow
from ullage.study.solve import ScenarioSolver
from ullage.study.study_run import run_study
from ullage.study.workers import cores

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo" / "fleet.yaml"
FACTORS = ("x0.5", "x0.75", "x1", "x1.25", "x1.5")


def main(arguments: Sequence[str] | None = None) -> int:
    """Solve the study and its scenarios one by one, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whatif", description="A study, warm against cold.")
    parser.add_argument("fleet", type=Path, nargs="?", default=DEMO, help="a fleet file; default: the demo")
    parser.add_argument("--scenarios", type=int, default=60, help="at most so many; default: 60")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: one per core")
    options = parser.parse_args(arguments)
    if options.scenarios < 1:
        print(f"{parser.prog}: --scenarios {options.scenarios}: at least 1", file=sys.stderr)
        return 2
    print(json.dumps(figures(study(options.fleet, options.scenarios), options.workers), sort_keys=True))
    return 0


def study(fleet: Path, most: int) -> StudyQuestion:
    """At most so many scenarios: one to three nodes of the first pool, and the first two workloads with less and more demand."""
    spec = load(fleet)
    first, second = spec.names("workloads")[:2]
    pool = spec.names("pools")[0]
    nodes = tuple(range(1, min(3, most) + 1))
    one = FACTORS[: max(1, min(len(FACTORS), most // len(nodes)))]
    two = FACTORS[: max(1, min(4, most // (len(nodes) * len(one))))]
    return StudyQuestion(spec, {f"pools.{pool}.nodes": nodes, f"workloads.{first}.rate": one, f"workloads.{second}.rate": two})


def figures(question: StudyQuestion, workers: int | None) -> dict[str, Any]:
    """Seconds of the study and of both ways one by one, and how far the costs are apart."""
    started_s = perf_counter()
    results = run_study(question, workers=workers)
    study_s = perf_counter() - started_s
    scenarios = list(question.scenarios())
    warm_rows, warm_s = _solved(question.solver(), len(scenarios), question)
    cold_rows, cold_s = _solved(None, len(scenarios), question)
    by_name = {row.scenario: row for row in results.rows}
    pairs = [(row, cold) for cold in cold_rows for row in (by_name[cold.scenario],)]
    pairs += list(zip(warm_rows, cold_rows, strict=True))
    return {
        "scenarios": len(scenarios),
        "workers": workers or cores(),
        "study_s": round(study_s, 2),
        "warm_s": round(warm_s, 2),
        "cold_s": round(cold_s, 2),
        "cold_over_warm": round(cold_s / warm_s, 2),
        "worst_cost_difference_fraction": max(_apart(one, other) for one, other in pairs),
        "allowed_fraction": max(max(one.gap_fraction or 0.0, other.gap_fraction or 0.0) for one, other in pairs),
        "unsolved": sum(not row.solved for row in results.rows),
    }


def _solved(warm: ScenarioSolver | None, count: int, question: StudyQuestion) -> tuple[list[StudyRow], float]:
    """The rows of all scenarios and the processor's seconds; without a solver each by one of its own."""
    started_s = process_time()
    rows = [(warm or question.solver()).row(scenario) for scenario in question.scenarios()]
    assert len(rows) == count
    return rows, process_time() - started_s


def _apart(one: StudyRow, other: StudyRow) -> float:
    """The part by which two costs differ; 1 where one leaves more unserved than the other."""
    if one.unserved_rps != other.unserved_rps or one.cost_usd_per_h is None or other.cost_usd_per_h is None:
        return 0.0 if one.problem == other.problem and not one.solved else 1.0
    return abs(one.cost_usd_per_h - other.cost_usd_per_h) / max(one.cost_usd_per_h, other.cost_usd_per_h, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
