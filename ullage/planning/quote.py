"""Quotes: the fleet with one workload more, planned against the fleet without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from planner.newcomer import PlacementEstimate, Quote, compare, estimate
from planner.plan import Plan, State, as_applied
from planner.sizing.blueprint import build
from planner.spec import Fleet, load_fleet
from planner.spec.yaml_tree import decode, parse
from profiles.catalogue import UnknownNameError, builtin
from ullage.inputs import fleet_of, read_bytes, read_fleet, read_plan
from ullage.planning.plan import plan_fleet

DEFAULT_OUTPUT_TOKENS = "200"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A workload that somebody asks for, as the fleet file would say it; model is a name under models, or a catalogue name.

    Where its demand names no output_tokens there are DEFAULT_OUTPUT_TOKENS, and none for a model with task: embed.
    """

    model: str
    workload: Mapping[str, Any]


def with_newcomer(path: Path, newcomer: Newcomer) -> tuple[Fleet, str]:
    """The fleet of a file with one workload more, and the workload's name; SpecError names what is wrong with it."""
    raw = read_bytes(path, "`ullage init` writes a starter")
    root, _ = parse(str(path), decode(str(path), raw))
    written: dict[str, Any] = root.plain()
    models, workloads = dict(written.get("models") or {}), dict(written.get("workloads") or {})
    model = newcomer.model
    if model not in models:
        model = _free_name(model.rpartition("/")[2].lower(), models)
        models[model] = {"source": newcomer.model, **({"task": "embed"} if _makes_vectors(newcomer.model) else {})}
    embeds = isinstance(models[model], Mapping) and models[model].get("task") == "embed"
    demand = dict(newcomer.workload["demand"])
    if not embeds:
        demand.setdefault("output_tokens", DEFAULT_OUTPUT_TOKENS)
    name = _free_name("quote", {**workloads, **models})
    workloads[name] = {"model": model, **newcomer.workload, "demand": demand}
    text = yaml.safe_dump({**written, "models": models, "workloads": workloads}, sort_keys=False)
    return load_fleet(path, text, builtin()), name


def _makes_vectors(name: str) -> bool:
    """Whether a model of the catalogue embeds; a name that it does not have is refused where the fleet is loaded."""
    try:
        return builtin().model(name).pooling
    except UnknownNameError:
        return False


@dataclass(frozen=True, slots=True)
class Present:
    """The fleet file as it is, and the plan that a newcomer is compared with."""

    path: Path
    plan: Plan


def present_of_fleet(path: Path, state: State) -> Present:
    """A fleet file, planned against what runs."""
    return Present(path, plan_fleet(read_fleet(path), state).plan)


def present_of_plan(plan_file: Path, fleet_file: Path | None) -> Present:
    """A plan as it was reviewed, with its fleet file (None: beside the plan); ValueError when an input has changed since."""
    plan = read_plan(plan_file)
    recorded = plan.desired.input_hashes
    path = fleet_of(plan_file, sorted(recorded)) if fleet_file is None else fleet_file
    now = read_fleet(path).hashes
    changed = sorted(name for name in {*recorded, *now} if recorded.get(name) != now.get(name))
    if changed:
        raise ValueError(
            f"{plan_file}: made from another {', '.join(changed)} than that of {path}; plan again, or give the fleet it was made from"
        )
    return Present(path, plan)


def quick_quote(present: Present, newcomer: Newcomer) -> PlacementEstimate:
    """The estimate beside what the plan has."""
    fleet, name = with_newcomer(present.path, newcomer)
    return _estimate(fleet, name, as_applied(present.plan))


def full_quote(present: Present, newcomer: Newcomer) -> Quote:
    """The estimate confirmed by planning with the newcomer, against the plan as if it ran."""
    fleet, name = with_newcomer(present.path, newcomer)
    running = as_applied(present.plan)
    return compare(_estimate(fleet, name, running), present.plan, plan_fleet(fleet, running).plan, name)


def _estimate(fleet: Fleet, name: str, running: State) -> PlacementEstimate:
    served_name = next(workload.served_name for workload in fleet.workloads if workload.name == name)
    return estimate(build(fleet, running), served_name)


def _free_name(wanted: str, taken: Mapping[str, Any]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
