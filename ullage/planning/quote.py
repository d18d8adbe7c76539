"""Quotes: the fleet with one workload more, planned against the fleet without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.newcomer import PlacementEstimate, Quote, compare, estimate
from planner.plan import Plan, State, as_applied
from planner.sizing.blueprint import build
from planner.spec import Fleet
from ullage.fleet_spec import FleetSpec, load
from ullage.inputs import fleet_of, read_plan
from ullage.planning.joining import Newcomer, joined_edits
from ullage.planning.plan import plan_fleet


def with_newcomer(spec: FleetSpec, newcomer: Newcomer) -> tuple[Fleet, str]:
    """The fleet with one workload more, and the workload's name; SpecError names what is wrong with it."""
    edits, name = joined_edits(spec, newcomer, "quote")
    for path, value in edits:
        spec = spec.set(path, value)
    return spec.resolved(), name


@dataclass(frozen=True, slots=True)
class Present:
    """The fleet as it is declared, and the plan that a newcomer is compared with."""

    spec: FleetSpec
    plan: Plan


def present_of_fleet(spec: FleetSpec, state: State) -> Present:
    """A declared fleet, planned against what runs."""
    return Present(spec, plan_fleet(spec.resolved(), state).plan)


def present_of_plan(plan_file: Path, fleet_file: Path | None) -> Present:
    """A plan as it was reviewed, with its fleet file (None: beside the plan); ValueError when an input has changed since."""
    plan = read_plan(plan_file)
    recorded = plan.desired.input_hashes
    path = fleet_of(plan_file, sorted(recorded)) if fleet_file is None else fleet_file
    spec = load(path)
    now = spec.resolved().hashes
    changed = sorted(name for name in {*recorded, *now} if recorded.get(name) != now.get(name))
    if changed:
        raise ValueError(
            f"{plan_file}: made from another {', '.join(changed)} than that of {path}; plan again, or give the fleet it was made from"
        )
    return Present(spec, plan)


def quick_quote(present: Present, newcomer: Newcomer) -> PlacementEstimate:
    """The estimate beside what the plan has."""
    fleet, name = with_newcomer(present.spec, newcomer)
    return _estimate(fleet, name, as_applied(present.plan))


def full_quote(present: Present, newcomer: Newcomer) -> Quote:
    """The estimate confirmed by planning with the newcomer, against the plan as if it ran."""
    fleet, name = with_newcomer(present.spec, newcomer)
    running = as_applied(present.plan)
    return compare(_estimate(fleet, name, running), present.plan, plan_fleet(fleet, running).plan, name)


def _estimate(fleet: Fleet, name: str, running: State) -> PlacementEstimate:
    served_name = next(workload.served_name for workload in fleet.workloads if workload.name == name)
    return estimate(build(fleet, running), served_name)
