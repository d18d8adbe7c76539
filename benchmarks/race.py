"""The optimiser on the neutral problem that was given to peers: models on GPU types, whole GPUs against shared ones.

    python -m benchmarks.race FILE [--time-limit S]

FILE holds gpus (type -> cost, mem_gib, count) and models (rate, lengths, weights, SLO, speeds per GPU type); benchmarks/race_model.py
states the rules. The last line of standard output is one JSON object: cost and bound with sharing, the cost of first-fit decreasing on the
same Problem, and the cost without sharing, which is what planners that size each model alone pay. A cost is null where demand is left
unserved. seconds is the sharing answer, from the file's numbers to the judged solution.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.instance import answered, time_limit
from benchmarks.race_model import MICRO, Race, exclusive_problem, read_race, sharing_problem
from planner.problem import Solution, violations
from solvers.baselines import first_fit
from solvers.portfolio import solve_all
from ullage.plugins import BASELINES, SOLVERS, load

ENGINES = ("exact", *BASELINES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Solve both modes and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description="Cost with and without sharing on a neutral problem.")
    parser.add_argument("file", type=Path, help="JSON with gpus and models")
    parser.add_argument("--time-limit", type=time_limit, default=None, metavar="S", help="seconds per engine; default: limits on work")
    options = parser.parse_args(arguments)
    race = answered(parser.prog, options.file, read_race)
    if race is None:
        return 2
    print(json.dumps(figures(race, options.time_limit), sort_keys=True))
    return 0


def figures(race: Race, time_limit_s: float | None) -> dict[str, Any]:
    """What both modes cost, with the bound and the seconds of the sharing one."""
    engines = {name: load("solvers", SOLVERS, name) for name in ENGINES}
    started_s, started_cpu_s = perf_counter(), sum(os.times()[:4])
    problem = sharing_problem(race)
    answer = solve_all(problem, engines, time_limit_s=time_limit_s)
    wrong = violations(problem, answer.solution)
    seconds, cpu_s = perf_counter() - started_s, sum(os.times()[:4]) - started_cpu_s
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    alone = solve_all(exclusive_problem(race), engines, time_limit_s=time_limit_s).solution
    greedy = next(report.solution for report in answer.reports if report.engine == first_fit.NAME)
    best = answer.solution
    cost, bound = best.cost_microusd_per_h, best.bound_microusd_per_h
    return {
        "models": len(race.models),
        "cost_usd_per_h": _cost(best),
        "bound_usd_per_h": bound / MICRO,
        "gap_fraction": round((cost - bound) / cost, 6) if cost else 0.0,
        "seconds": round(seconds, 3),
        "cpu_s": round(cpu_s, 3),
        "no_share_cost_usd_per_h": _cost(alone),
        "ffd_cost_usd_per_h": None if greedy is None else _cost(greedy),
        "unserved_rps": sum(best.unserved_microrps) / MICRO,
        "no_share_unserved_rps": sum(alone.unserved_microrps) / MICRO,
        "status": best.status,
        "engine": best.engine,
        "violations": len(wrong),
    }


def _cost(solution: Solution) -> float | None:
    return None if any(solution.unserved_microrps) else solution.cost_microusd_per_h / MICRO


if __name__ == "__main__":
    sys.exit(main())
