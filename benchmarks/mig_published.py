"""Fewest GPUs, then fewest slices, for published scenarios of services on MIG slices.

    python -m benchmarks.mig_published FILE [--time-limit S] [--plan]

FILE has the form of ParvaGPU's scenarios (SC'24): mig_placements (slices of an instance -> its [start, length] in memory slices),
profiles (model -> measured points of slices, batch, processes, throughput and latency) and scenarios (services with SLO and rate, and
the published counts). A point is admissible when its latency is below 0.45 of the SLO: half the SLO is the batch's waiting time, and a
tenth is kept. Scenarios go through the product's own engine. The last line of standard output is one JSON object, scenario ->
gpus, slices, proven, seconds, published; --plan also prints every GPU's instances with their start slots.
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
from benchmarks.mig_published_model import MICRO, Instance, Scenario, counts, problem_of, read_instance
from planner.problem import Placed, Problem, Solution, placement_violations, violations
from solvers.placement.physical import place
from solvers.portfolio import solve_all
from ullage.plugins import BASELINES, SOLVERS, load

ENGINES = ("exact", *BASELINES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Solve every scenario and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mig_published", description="Fewest GPUs and slices for MIG scenarios.")
    parser.add_argument("file", type=Path, help="JSON with mig_placements, profiles and scenarios")
    parser.add_argument(
        "--time-limit", type=time_limit, default=None, metavar="S", help="seconds per engine and solve; default: work limits"
    )
    parser.add_argument("--plan", action="store_true", help="print the instances of every GPU")
    options = parser.parse_args(arguments)
    instance = answered(parser.prog, options.file, read_instance)
    if instance is None:
        return 2
    print(json.dumps({each.name: _row(instance, each, options) for each in instance.scenarios}))
    return 0


def _row(instance: Instance, scenario: Scenario, options: argparse.Namespace) -> dict[str, Any]:
    started_s, started_cpu_s = perf_counter(), sum(os.times()[:4])
    problem, solution = solved(instance, scenario, options.time_limit)
    placed = place(problem, solution)
    gpus, slices = counts(problem, placed)
    seconds, cpu_s = perf_counter() - started_s, sum(os.times()[:4]) - started_cpu_s
    wrong = (*violations(problem, solution), *placement_violations(problem, solution, placed))
    for sentence in wrong:
        print(f"{scenario.name}: {sentence}", file=sys.stderr)
    if options.plan:
        print("\n".join(_lines(problem, placed, scenario.name)))
    return {
        "gpus": gpus,
        "slices": slices,
        "proven": solution.status == "optimal",
        "seconds": round(seconds, 3),
        "cpu_s": round(cpu_s, 3),
        "unserved_rps": sum(solution.unserved_microrps) / MICRO,
        "violations": len(wrong),
        "published": scenario.published,
    }


def solved(instance: Instance, scenario: Scenario, time_limit_s: float | None) -> tuple[Problem, Solution]:
    """The scenario as a Problem whose cost counts GPUs first and slices second, and the portfolio's answer."""
    problem = problem_of(instance, scenario)
    engines = {name: load("solvers", SOLVERS, name) for name in ENGINES}
    return problem, solve_all(problem, engines, time_limit_s=time_limit_s).solution


def _lines(problem: Problem, placed: Sequence[Placed], name: str) -> list[str]:
    gpus: dict[tuple[int, int], list[str]] = {}
    for item in sorted(placed, key=lambda item: (problem.shapes[item.shape].pool, item.node, item.mig_start or 0)):
        shape = problem.shapes[item.shape]
        demand = problem.demands[shape.demand].name
        gpus.setdefault((shape.pool, item.node), []).append(f"{demand} on {shape.mig_profile} at slot {item.mig_start}")
    return [f"{name} GPU {number}: {'; '.join(held)}" for number, held in enumerate(gpus.values())]


if __name__ == "__main__":
    sys.exit(main())
