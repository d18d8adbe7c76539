"""How good, how fast and how large the optimiser is, on generated fleets from 8 to 20,000 GPUs.

    python -m benchmarks.scale --gpus 128 --models 40 --seed 1 [--time-limit 5] [--engines exact,first-fit-decreasing] [--constraints all]
    python -m benchmarks.scale --curve CURVE.svg [--seed 1]
    python -m benchmarks.scale --gpus 128 --models 40 --seed 1 --remember

The fleet is written as a fleet file, loaded and turned into a Problem by the planner (build_s, not part of seconds); the portfolio
answers it (seconds), places get their names (place_s), and the judge counts what is wrong (violations, which must be 0). cost and
bound are in dollars per hour; gap_fraction is that of the first goal that is not met exactly, named by gap_goal.
gap_to_best_known_fraction is the same to the best plan known for this fleet (benchmarks/best_known.json; null where none is): of the first
goal in which the two differ, and below zero where this plan is better; --remember then writes it down. The last line of standard output is
one JSON object; --curve prints one per size and writes a picture of seconds, memory and gap.
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

from benchmarks import best_plans
from benchmarks.instance import time_limit
from benchmarks.scale_curve import Point, curve_svg
from benchmarks.scale_fleet import KINDS, scale_fleet
from benchmarks.scale_memory import TreePeak
from planner.plan import State
from planner.problem import Problem, Solution, node_losses, placement_violations, priorities, unserved_by_priority, violations
from planner.sizing.blueprint import build
from solvers.placement.physical import place
from solvers.portfolio import PortfolioAnswer, SolverReport, solve_all
from ullage.plugins import BASELINES, SOLVERS, load

MICRO = 1_000_000
# What a plan asks: the exact engine and every baseline.
DEFAULT_ENGINES = ("exact", *BASELINES)
# GPUs and models of the curve, with the seconds that each answer may take.
SIZES = ((8, 6, 5.0), (32, 16, 5.0), (128, 40, 5.0), (512, 80, 5.0), (2000, 200, 5.0), (6000, 450, 15.0), (20000, 1000, 30.0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one size, or all of the curve, and print the figures."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except ValueError as error:
        print(f"benchmarks.scale: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.curve is None:
        print(json.dumps(_row(options, options.gpus, options.models, options.time_limit), sort_keys=True))
        return
    points: list[Point] = []
    for gpus, models, limit_s in SIZES:
        row = _row(options, gpus, models, limit_s)
        print(json.dumps(row, sort_keys=True), flush=True)
        points.append(Point(row["gpus"], row["seconds"], row["peak_mib"], row["gap_fraction"]))
    options.curve.write_text(curve_svg(points), encoding="utf-8")


def _row(options: argparse.Namespace, gpus: int, models: int, time_limit_s: float | None) -> dict[str, Any]:
    """The figures of one fleet, beside the best plan known for it."""
    key = best_plans.key_of(gpus, models, options.seed, options.constraints)
    known = best_plans.read_known(best_plans.TABLE, key)
    problem, build_s = _problem(gpus, models, options.seed, options.constraints)
    row = figures(problem, options.engines, time_limit_s) | {"build_s": round(build_s, 3)}
    plan = best_plans.KnownPlan(tuple(row["unserved_by_priority_rps"]), row["cost"])
    if options.remember and not row["violations"]:
        best_plans.remember(best_plans.TABLE, key, plan)
    return row | {"gap_to_best_known_fraction": best_plans.gap_fraction(plan, known)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Cost, bound, seconds and memory on generated fleets.")
    parser.add_argument("--gpus", type=int, default=128, help="GPUs of the fleet, a multiple of 4")
    parser.add_argument("--models", type=int, default=40, help="models, each with a demand of its own")
    parser.add_argument("--seed", type=int, default=1, help="which models meet which clients")
    parser.add_argument("--time-limit", type=time_limit, default=None, metavar="S", help="seconds for each engine; default: limits on work")
    parser.add_argument("--engines", type=_engines, default=DEFAULT_ENGINES, help=f"some of {', '.join(SOLVERS)}")
    parser.add_argument("--constraints", type=_kinds, default=(), help=f"some of {', '.join(KINDS)}; or all")
    parser.add_argument("--remember", action="store_true", help="write a plan that is better than the best known one into its table")
    parser.add_argument("--curve", type=Path, metavar="SVG", help="run all sizes and write the picture")
    return parser


def _engines(text: str) -> tuple[str, ...]:
    return _some(text, tuple(SOLVERS))


def _kinds(text: str) -> tuple[str, ...]:
    return KINDS if text == "all" else _some(text, KINDS)


def _some(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return names


def _problem(gpus: int, models: int, seed: int, kinds: Sequence[str]) -> tuple[Problem, float]:
    fleet = scale_fleet(gpus, models, seed, kinds)
    started_s = perf_counter()
    return build(fleet, State()).problem, perf_counter() - started_s


def figures(problem: Problem, engines: Sequence[str], time_limit_s: float | None) -> dict[str, Any]:
    """Answer a problem by the portfolio of these engines and judge the answer; seconds is all engines together."""
    solvers = {name: load("solvers", SOLVERS, name) for name in engines}
    with TreePeak(os.getpid()) as memory:
        started_s, started_cpu_s = perf_counter(), _cpu_s()
        answer = solve_all(problem, solvers, time_limit_s=time_limit_s)
        seconds, cpu_s = perf_counter() - started_s, _cpu_s() - started_cpu_s
    placed_s = perf_counter()
    placed = place(problem, answer.solution)
    wrong = (*violations(problem, answer.solution), *placement_violations(problem, answer.solution, placed))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return {
        **_quality(problem, answer.solution),
        "gpus": sum(pool.gpus for pool in problem.pools),
        "models": len(problem.demands),
        "shapes": len(problem.shapes),
        "seconds": round(seconds, 3),
        "cpu_s": round(cpu_s, 3),
        "place_s": round(perf_counter() - placed_s, 3),
        "peak_mib": memory.peak_mib,
        "engines": _reports(answer, set(engines) - set(BASELINES)),
        "baselines": _reports(answer, set(BASELINES)),
        "violations": len(wrong),
        "node_losses": sum(1 for loss in node_losses(problem, placed) if loss.missing_microrps),
    }


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _quality(problem: Problem, solution: Solution) -> dict[str, Any]:
    goals = [
        (f"unserved at priority {priority}", value, bound)
        for priority, value, bound in zip(
            priorities(problem),
            unserved_by_priority(problem, solution.unserved_microrps),
            solution.bound_unserved_microrps,
            strict=True,
        )
    ]
    goals.append(("cost", solution.cost_microusd_per_h, solution.bound_microusd_per_h))
    name, value, bound = next(((name, value, bound) for name, value, bound in goals if value != bound), goals[-1])
    return {
        "cost": solution.cost_microusd_per_h / MICRO,
        "bound": solution.bound_microusd_per_h / MICRO,
        "unserved_by_priority_rps": [each / MICRO for each in unserved_by_priority(problem, solution.unserved_microrps)],
        "unserved_rps": sum(solution.unserved_microrps) / MICRO,
        "gap_goal": name,
        "gap_fraction": round((value - bound) / value, 6) if value else 0.0,
        "engine": solution.engine,
        "status": solution.status,
    }


def _reports(answer: PortfolioAnswer, names: set[str]) -> dict[str, Any]:
    return {report.engine: _report(report) for report in answer.reports if report.engine in names}


def _report(report: SolverReport) -> dict[str, Any]:
    solution = report.solution
    if solution is None:
        return {"skipped": report.skipped}
    return {
        "cost": solution.cost_microusd_per_h / MICRO,
        "unserved": sum(solution.unserved_microrps) / MICRO,
        "seconds": round(report.solve_s, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
