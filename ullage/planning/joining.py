"""A fleet with one workload more than it declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from profiles.catalogue import UnknownNameError, builtin
from ullage.fleet_spec import FleetSpec

DEFAULT_OUTPUT_TOKENS = "200"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A workload that somebody asks for, as the fleet file would say it; model is a name under models, or a catalogue name.

    Where its demand names no output_tokens there are DEFAULT_OUTPUT_TOKENS, and none for a model with task: embed.
    """

    model: str
    workload: Mapping[str, Any]


def joined_edits(spec: FleetSpec, newcomer: Newcomer, wanted: str) -> tuple[tuple[tuple[str, Any], ...], str]:
    """What to set so that the fleet has the newcomer too, and the workload's name: the wanted one, with a number where it is taken."""
    models, workloads = spec.names("models"), spec.names("workloads")
    model = newcomer.model
    edits: list[tuple[str, Any]] = []
    embeds = model in models and spec.get(f"models.{model}.task") == "embed"
    if model not in models:
        model, embeds = _free_name(model.rpartition("/")[2].lower(), models), _makes_vectors(model)
        edits.append((f"models.{model}", {"source": newcomer.model, **({"task": "embed"} if embeds else {})}))
    demand = dict(newcomer.workload["demand"])
    if not embeds and "rate" in demand:
        demand.setdefault("output_tokens", DEFAULT_OUTPUT_TOKENS)
    name = _free_name(wanted, {*workloads, *models, model})
    edits.append((f"workloads.{name}", {"model": model, **newcomer.workload, "demand": demand}))
    return tuple(edits), name


def _makes_vectors(name: str) -> bool:
    """Whether a model of the catalogue embeds; a name that it does not have is refused where the fleet is loaded."""
    try:
        return builtin().model(name).pooling
    except UnknownNameError:
        return False


def _free_name(wanted: str, taken: Collection[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
