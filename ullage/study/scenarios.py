"""Scenarios: a fleet with something changed, and all combinations of settings in an order in which neighbours differ in one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.spec.edits import node_of
from ullage.fleet_spec import FleetSpec
from ullage.study.values import shown

# Beyond this many scenarios a table is no answer any more.
MOST_SCENARIOS = 100_000

# The scenario in which nothing is changed: what all others are compared with.
BASE = "as declared"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet with changes. settings are what a table shows, by path; edits are made one after the other, None leaves a field out.

    lost_nodes are those that it does without. order is its place in a table.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    edits: tuple[tuple[str, Any], ...] = ()
    lost_nodes: tuple[str, ...] = ()
    order: int = 0

    def applied(self, spec: FleetSpec) -> FleetSpec:
        """The fleet with the changes; PathError when a path names nothing."""
        for path, value in self.edits:
            spec = spec.set(path, value)
        return _with_hosts(spec, [path for path, _ in self.edits])

    def document(self) -> dict[str, Any]:
        """What makes up the scenario, as plain values."""
        return {
            "name": self.name,
            "settings": [list(item) for item in self.settings],
            "edits": [[path, node_of(value).plain()] for path, value in self.edits],
            "lost_nodes": list(self.lost_nodes),
            "order": self.order,
        }


def scenario_of_document(document: Mapping[str, Any]) -> Scenario:
    """The scenario of its document()."""
    return Scenario(
        document["name"],
        tuple((path, value) for path, value in document["settings"]),
        tuple((path, value) for path, value in document["edits"]),
        tuple(document["lost_nodes"]),
        document["order"],
    )


def count_of(settings: Mapping[str, Sequence[object]]) -> int:
    """How many combinations there are; 0 without settings."""
    return math.prod(len(values) for values in settings.values()) if settings else 0


def grid(settings: Mapping[str, Sequence[object]]) -> Iterator[Scenario]:
    """All combinations; each differs from the one before in one setting, by one step."""
    sizes = [len(values) for values in settings.values()]
    for places in _walk(sizes) if settings else ():
        edits = tuple((path, values[place]) for (path, values), place in zip(settings.items(), places, strict=True))
        texts = tuple((shown(path), shown(value)) for path, value in edits)
        order = 0
        for place, size in zip(places, sizes, strict=True):
            order = order * size + place
        yield Scenario(", ".join(f"{path}={text}" for path, text in texts), texts, edits, order=order + 1)


def _walk(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Places in a box, back and forth like a plough: neighbours in the walk are neighbours in the box."""
    if not sizes:
        yield ()
        return
    for turn, rest in enumerate(_walk(sizes[:-1])):
        last = range(sizes[-1])
        yield from ((*rest, place) for place in (reversed(last) if turn % 2 else last))


def _with_hosts(spec: FleetSpec, paths: Sequence[str]) -> FleetSpec:
    """As many addresses as nodes: a study may ask for nodes that have none yet, or for fewer than there are."""
    for pool in spec.names("pools"):
        hosts = spec.get(f"pools.{pool}.hosts")
        changed = any(path in {f"pools.{pool}.{field}" for field in ("nodes", "max_nodes", "ownership")} for path in paths)
        if not changed or not isinstance(hosts, list):
            continue
        rented = spec.get(f"pools.{pool}.ownership") == "rentable"
        nodes = (spec.get(f"pools.{pool}.max_nodes") if rented else None) or spec.get(f"pools.{pool}.nodes")
        if isinstance(nodes, str) and nodes.isdecimal() and int(nodes) <= MOST_SCENARIOS:
            wanted = [*hosts, *(f"{pool}-{place}.new" for place in range(len(hosts), int(nodes)))][: int(nodes)]
            spec = spec.set(f"pools.{pool}.hosts", wanted)
    return spec
