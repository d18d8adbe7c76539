"""whatif --burst: what a burst of one workload does to a plan, or to the plan of a fleet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from planner.plan import Plan
    from profiles.store.measurements import Measurements
    from ullage.checking import FindArchitecture

LONGEST_S = 3600.0


def burst_of(text: str) -> tuple[str, float]:
    """Workload and factor of WORKLOAD=xFACTOR; ValueError names what is wrong."""
    name, _, times = text.partition("=")
    try:
        factor = float(times.removeprefix("x"))
    except ValueError:
        factor = 0.0
    if not name or not 1 < factor <= 100:
        raise ValueError(f"--burst {text!r}: write WORKLOAD=xFACTOR with a factor above 1 and at most 100, for example chat=x2")
    return name, factor


def answer_burst(source: Path, burst: str, lasts: str, state: Path | None, prior: Path | None, solver: str, *, as_json: bool) -> None:
    """Print what a burst does to a plan file, or to the plan that is made for a fleet file."""
    from ullage.cli.keep import seconds_of
    from ullage.traffic.burst_answer import burst_answer
    from ullage.views.burst_text import burst_text

    workload, factor = burst_of(burst)
    lasts_s = seconds_of("--for", lasts, 1.0, LONGEST_S)
    plan, measurements, architecture = _plan_of(source, state, prior, solver)
    answer = burst_answer(plan, workload, factor, lasts_s, measurements=measurements, architecture=architecture)
    if as_json:
        typer.echo(json.dumps({**asdict(answer), "burst": answer.burst.model_dump()}))
        return
    typer.echo(burst_text(answer), nl=False)


def _plan_of(source: Path, state: Path | None, prior: Path | None, solver: str) -> tuple[Plan, Measurements, FindArchitecture]:
    """Files that end in .json are plans."""
    from profiles.store.measurements import Measurements
    from ullage.checking import architectures_from
    from ullage.inputs import read_fleet, read_plan
    from ullage.planning.plan import plan_fleet
    from ullage.planning.running_state import running_state

    architecture = architectures_from(source.resolve().parent)
    if source.suffix == ".json":
        return read_plan(source), Measurements(), architecture
    fleet = read_fleet(source)
    plan = plan_fleet(fleet, running_state(source, state, prior), solver=solver, verify=True).plan
    return plan, fleet.measurements, architecture
