"""Quotes: the fleet with one workload more, planned against the fleet without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from planner.build import build
from planner.plan import Plan, State
from planner.quote import Estimate, Quote, compare, estimate
from planner.spec import Fleet, load_fleet
from planner.spec.source import decode, parse
from profiles.catalogue import builtin
from ullage.inputs import read_bytes, read_fleet
from ullage.planning import plan_fleet


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A workload that somebody asks for, as the fleet file would say it; model is a name under models, or a catalogue name."""

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
        models[model] = {"source": newcomer.model}
    name = _free_name("quote", {**workloads, **models})
    workloads[name] = {"model": model, **newcomer.workload}
    text = yaml.safe_dump({**written, "models": models, "workloads": workloads}, sort_keys=False)
    return load_fleet(path, text, builtin()), name


def quick_quote(path: Path, newcomer: Newcomer, state: State) -> tuple[Estimate, State, Fleet, str]:
    """The estimate, with what confirming needs: the present plan as a state, the fleet with the newcomer and its name."""
    present = read_fleet(path)
    fleet, name = with_newcomer(path, newcomer)
    running = as_applied(plan_fleet(present, state).plan)
    served_name = next(workload.served_name for workload in fleet.workloads if workload.name == name)
    return estimate(build(fleet, running), served_name), running, fleet, name


def full_quote(path: Path, newcomer: Newcomer, state: State) -> Quote:
    """The estimate confirmed by planning with the newcomer."""
    first, running, fleet, name = quick_quote(path, newcomer, state)
    before = plan_fleet(read_fleet(path), running).plan
    return compare(first, before, plan_fleet(fleet, running).plan, name)


def as_applied(plan: Plan) -> State:
    """The state that applying a plan leaves."""
    desired = plan.desired
    return State(
        serial=plan.prior.serial + 1,
        nodes=desired.nodes,
        gpus=desired.gpus,
        replicas=desired.replicas,
        routes=desired.routes,
        router=desired.router,
    )


def _free_name(wanted: str, taken: Mapping[str, Any]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
