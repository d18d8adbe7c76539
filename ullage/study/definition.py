"""A study file: settings to combine and scenarios by name, in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.spec.nearest import nearest
from planner.spec.yaml_tree import decode, parse
from ullage.fleet_spec import FleetSpec
from ullage.inputs import read_bytes
from ullage.study.named import KINDS, scenario
from ullage.study.scenarios import Scenario
from ullage.study.values import shown, values_of

FIELDS = ("schema_version", "set", "scenarios")

SettingValues = dict[str, tuple[object, ...]]


def read_study(path: Path, spec: FleetSpec) -> tuple[SettingValues, tuple[Scenario, ...]]:
    """The settings and scenarios of a study file for a fleet; ValueError names the file and what is wrong.

    set maps paths to values as --set takes them, or to lists. scenarios is a list; each item has kinds with what they apply to, and a name
    if it should be called by one.
    """
    raw = read_bytes(path, "a study file is YAML with `set` or `scenarios`")
    root, problems = parse(str(path), decode(str(path), raw))
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    plain = root.plain()
    for field in _mapping(plain, f"{path}: is not a mapping with schema_version, set and scenarios"):
        if field not in FIELDS:
            close = nearest(field, FIELDS)
            hint = f"did you mean {close!r}? " if close else ""
            raise ValueError(f"{path}: unknown field {field[:60]!r}; {hint}fields: {', '.join(FIELDS)}")
    if plain.get("schema_version") != "1":
        raise ValueError(f"{path}: schema_version: write 1, the version of this format")
    try:
        return _settings(plain.get("set") or {}), _scenarios(plain.get("scenarios") or [], spec)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _settings(plain: Any) -> SettingValues:  # noqa: ANN401 -- what was written
    found = _mapping(plain, "set: is not a mapping; write paths with their values, for example pools.h100.nodes: 2..6")
    return {path: values_of(path, values) for path, values in found.items()}


def _mapping(plain: Any, told: str) -> dict[str, Any]:  # noqa: ANN401 -- what was written
    if isinstance(plain, dict):
        return plain
    raise ValueError(told)


def _scenarios(plain: Any, spec: FleetSpec) -> tuple[Scenario, ...]:  # noqa: ANN401 -- what was written
    if isinstance(plain, list):
        return tuple(_scenario(place, item, spec) for place, item in enumerate(plain))
    raise ValueError(f"scenarios: is not a list; each item has one or more of {', '.join(KINDS)}")


def _scenario(place: int, item: Any, spec: FleetSpec) -> Scenario:  # noqa: ANN401 -- what was written
    said = dict(_mapping(item, f"scenarios[{place}]: is not a mapping; it has one or more of {', '.join(KINDS)}"))
    name = said.pop("name", None)
    try:
        return scenario(spec, said, None if name is None else shown(name))
    except ValueError as error:
        raise ValueError(f"scenarios[{place}]: {error}") from error
