"""How close planning goes to what a GPU really bears.

    python -m benchmarks.sizing [--seed S] [--gpus N] [--small] [--no-verify] [--svg FILE]
    python -m benchmarks.sizing FLEET.yaml --trace FILE [--repeat-rate K] [--seed S]

Without a fleet file: generated GPUs of three types with one to six residents. The planned load is the largest common factor on the loads of
all residents for which `ullage plan` serves everything on this one GPU, and its own simulation confirms it (--no-verify: whatever a
simulation says). Where the GPU breaks is found by the step core: beyond that load
some resident has more than 1 % of its requests miss a goal, under slow steps (p90) or, with neighbours, under interference 1.3. The ratio
is planned over breaking load: 1 is perfect, above 1 is unsafe. With a fleet file: its plan under the requests of a trace
(benchmarks.sizing_plan). The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

from benchmarks.sizing_grid import RESIDENTS, SETTINGS, GridGpu, grid
from benchmarks.sizing_picture import sizing_svg
from benchmarks.sizing_plan import plan_figures
from planner.plan import Plan, State
from planner.problem import Solve
from planner.simulation.offered_load import OfferedLoad
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.traffic_metrics import quantile
from planner.sizing.blueprint import build
from planner.verification import INTERFERENCE, FactorSearch, FoundFactor, JudgedResident, JudgeEffort, breaking_load, judged, largest_factor
from planner.verification.plan_judge import keeps
from profiles.catalogue import builtin
from ullage.checking import architecture_of
from ullage.planning.ask import QUICK_ENGINE
from ullage.planning.plan import plan_fleet
from ullage.plugins import SOLVERS, load

ATTAINMENT_FRACTION = 0.99
# A GPU on which everybody misses at a thirtieth of the planned load says no more than one that breaks at two thirds.
LARGEST_RATIO = 1.5
# Two misses of the rarest resident's requests are allowed at least.
_RAREST_REQUESTS = 200
_EFFORT = JudgeEffort(rarest_requests=500, most_requests=20_000)
_SMALL_EFFORT = JudgeEffort(rarest_requests=200, most_requests=4000)
_SMALL_GPUS = len(RESIDENTS)
_PLANNED = FactorSearch(lowest_factor=1 / 256, highest_factor=4.0, step_factor=2.0, width_fraction=0.005, most_trials=40)
# Verified plans bear more than sizing alone finds, seldom less.
_VERIFIED = FactorSearch(lowest_factor=1 / 16, highest_factor=1024.0, step_factor=1.6, width_fraction=0.04)


@dataclass(frozen=True, slots=True)
class Row:
    """One GPU: the planned load as a factor of the grid's (0.0: planning finds no place), the break as a factor of the planned load.

    worst_fraction is the attainment of the worst resident at the planned load under interference; these two are None without a plan.
    sized_factor is the planned load by sizing alone (0.0: no place), as a factor of the grid's.
    """

    residents: int
    planned_factor: float
    breaking_factor: float | None
    worst_fraction: float | None
    plan_s: float
    judge_s: float
    sized_factor: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Planned over breaking load, at most LARGEST_RATIO."""
        if self.breaking_factor is None:
            return None
        return min(1 / self.breaking_factor, LARGEST_RATIO) if self.breaking_factor else LARGEST_RATIO

    @property
    def sized_ratio(self) -> float | None:
        """The same for sizing alone, None where it finds no place; the break is that of the plan that was judged."""
        if self.ratio is None or not self.sized_factor:
            return None
        return min(self.ratio * self.sized_factor / self.planned_factor, LARGEST_RATIO)


def row_of(gpu: GridGpu, effort: JudgeEffort, seed: int, *, verify: bool) -> Row:
    """Plan one GPU and judge it."""
    begun_s = perf_counter()
    alone = sized(gpu)
    found = verified(gpu, alone.factor or _PLANNED.lowest_factor) if verify else alone
    plan_s = (perf_counter() - begun_s) / found.trials
    if not found.factor:
        return Row(len(gpu.residents), 0.0, None, None, plan_s, 0.0)
    plan = planned(gpu, found.factor, verify=verify)
    begun_s = perf_counter()
    residents = judged_residents(gpu, plan, found.factor)
    broken = breaking_load(residents, attainment_fraction=ATTAINMENT_FRACTION, effort=effort, seed=seed)
    rows = judged(residents, INTERFERENCE, effort, seed=seed).workloads
    worst_fraction = min(row.attained / row.requests for row in rows if row.requests)
    return Row(len(residents), found.factor, broken.load_factor, worst_fraction, plan_s, perf_counter() - begun_s, alone.factor)


def sized(gpu: GridGpu) -> FoundFactor:
    """The largest factor at which there is a place for everything by sizing alone."""
    solve: Solve = load("solvers", SOLVERS, QUICK_ENGINE)

    def served(factor: float) -> bool:
        return not any(solve(build(gpu.fleet(factor), State()).problem).unserved_microrps)

    return largest_factor(served, _PLANNED)


def verified(gpu: GridGpu, start_factor: float) -> FoundFactor:
    """The largest factor at which a plan serves everything and its own simulation confirms it, looked for around a first one."""

    def kept(factor: float) -> bool:
        rows = planned(gpu, start_factor * factor, verify=True).desired.workloads
        return not any(row.unserved_rps for row in rows) and all(keeps(row.simulated, ATTAINMENT_FRACTION) for row in rows)

    found = largest_factor(kept, _VERIFIED)
    return FoundFactor(found.factor * start_factor, found.trials)


def planned(gpu: GridGpu, factor: float, *, verify: bool) -> Plan:
    """The plan at a factor, without best effort; a proof of its cost takes time and changes nothing here."""
    fleet = gpu.fleet(factor)
    fleet = fleet.model_copy(update={"policy": fleet.policy.model_copy(update={"strict": True})})
    return plan_fleet(fleet, State(), solver=QUICK_ENGINE, verify=verify).plan


def judged_residents(gpu: GridGpu, plan: Plan, factor: float) -> list[JudgedResident]:
    """The engines of the plan, each with the load that it was planned for."""
    world, goals = planned_world(plan, builtin().gpu, architecture_of), workload_slos(plan)
    engines = {engine.name: engine for engine in world.engines}
    residents = []
    for index, (item, rate_rps) in enumerate(zip(gpu.residents, gpu.rates_rps, strict=True)):
        name = f"w{index}"
        ((replica, _),) = world.routes[name]
        load = OfferedLoad(name, name, rate_rps * factor, item.mix, SETTINGS.max_model_len)
        residents.append(JudgedResident(engines[replica], load, *goals[name]))
    return residents


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """What some GPUs have in common; ratios are over those that planning finds a place for."""
    ratios = sorted(row.ratio for row in rows if row.ratio is not None)
    sized_ratios = [row.sized_ratio or 0.0 for row in rows if row.ratio is not None]
    worst = [row.worst_fraction for row in rows if row.worst_fraction is not None]
    found: dict[str, Any] = {
        "gpus": len(rows),
        "infeasible_fraction": round(1 - len(ratios) / len(rows), 4),
        "plan_s": round(fmean(row.plan_s for row in rows), 4),
        "judge_s": round(fmean(row.judge_s for row in rows), 3),
    }
    if ratios:
        found |= {
            "sized_ratio_mean": round(fmean(sized_ratios), 3),
            "ratio_mean": round(fmean(ratios), 3),
            "ratio_p10": round(quantile(ratios, 100), 3),
            "ratio_p90": round(quantile(ratios, 900), 3),
            "above_fraction": round(sum(ratio > 1 for ratio in ratios) / len(ratios), 4),
            "kept_fraction": round(sum(fraction >= ATTAINMENT_FRACTION for fraction in worst) / len(worst), 4),
            "worst_attainment_fraction": round(min(worst), 4),
        }
    return found


def grid_figures(seed: int, gpus: int, effort: JudgeEffort, *, verify: bool, svg: Path | None = None) -> dict[str, Any]:
    """Judge the grid, print a line per GPU, draw it if asked, and return the figures per number of residents and in all."""
    begun_s = perf_counter()
    rows = []
    for gpu in grid(seed, gpus, _RAREST_REQUESTS / _EFFORT.most_requests):
        row = row_of(gpu, effort, seed, verify=verify)
        rows.append(row)
        names = ", ".join(f"{item.model.rpartition('/')[2]} {item.mix_name} {item.latency_class}" for item in gpu.residents)
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        worst = "-" if row.worst_fraction is None else f"{row.worst_fraction:.4f}"
        print(f"{row.residents} {ratio:>5} {worst:>7} {row.plan_s:6.3f} s {row.judge_s:6.2f} s  {gpu.gpu}: {names}", flush=True)
    if svg is not None:
        dots = [(row.residents, row.sized_ratio, row.ratio) for row in rows if row.ratio is not None]
        svg.write_text(sizing_svg(dots), encoding="utf-8")
    counts = sorted({row.residents for row in rows})
    found = {str(count): figures([row for row in rows if row.residents == count]) for count in counts}
    return {"seed": seed, "verified": verify, "residents": found, "all": figures(rows), "seconds": round(perf_counter() - begun_s, 1)}


def table(found: dict[str, Any]) -> str:
    """The figures as a table."""
    keys = (
        "gpus",
        "infeasible_fraction",
        "sized_ratio_mean",
        "ratio_mean",
        "ratio_p10",
        "ratio_p90",
        "above_fraction",
        "kept_fraction",
        "plan_s",
        "judge_s",
    )
    lines = [["residents", *keys]]
    for name, figure in [*found["residents"].items(), ("all", found["all"])]:
        lines.append([name, *(str(figure.get(key, "-")) for key in keys)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description="Planned load against what a GPU bears.")
    parser.add_argument("fleet", type=Path, nargs="?", help="a fleet file; without it GPUs are generated")
    parser.add_argument("--trace", type=Path, help="the requests for a fleet file, as `ullage simulate` takes them")
    parser.add_argument("--repeat-rate", type=_positive, default=1, help="send each request of the trace so many times")
    parser.add_argument("--seed", type=int, default=0, help="seed of the grid, of requests and of step times")
    parser.add_argument("--gpus", type=_positive, default=100, help="how many GPUs to generate")
    parser.add_argument("--small", action="store_true", help=f"at most {_SMALL_GPUS} GPUs and short simulations")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="what sizing alone finds a place for")
    parser.add_argument("--svg", type=Path, help="draw the ratios of the generated GPUs into this file")
    options = parser.parse_args(arguments)
    if (options.fleet is None) != (options.trace is None):
        parser.error("a fleet file and --trace belong together: give both or none")
    if options.fleet is None:
        gpus = min(options.gpus, _SMALL_GPUS) if options.small else options.gpus
        found = grid_figures(options.seed, gpus, _SMALL_EFFORT if options.small else _EFFORT, verify=options.verify, svg=options.svg)
        print(table(found))
    else:
        try:
            found = plan_figures(options.fleet, options.trace, options.repeat_rate, options.seed)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    print(json.dumps(found))
    return 0


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
