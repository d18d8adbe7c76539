"""Nodes and pools that a fleet has to do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from planner.spec.nearest import nearest
from ullage.fleet_spec import FleetSpec

# Of numbers of nodes and GPUs: more are none.
_MOST_DIGITS = 6

# A pool, a number in it, and the address of its machine where it is said.
NodePlace = tuple[str, int, str | None]

Lost = tuple[tuple[tuple[str, Any], ...], tuple[str, ...]]


def lost_node(spec: FleetSpec, node: str) -> Lost:
    """What to set so that a node is gone, and its names: a machine may be a node of several pools. ValueError where there is no such node.

    A node of an owned pool counts as used by others, so that the others keep their names; a rentable pool has one node fewer, and
    those behind it move up by one number.
    """
    places = dict(_nodes(spec))
    if node not in places:
        close = nearest(node, places)
        hint = f"did you mean {close!r}? " if close else ""
        shown = ", ".join(list(places)[:12]) + (", ..." if len(places) > 12 else "")
        raise ValueError(f"no node is called {node[:60]!r}; {hint}there are: {shown or 'none'}")
    same = {name: place for name, place in places.items() if name == node or place[:2] in _same_machine(places[node], places.values())}
    edits: list[tuple[str, Any]] = []
    for name in sorted({place[0] for place in same.values()}):
        indexes = [place[1] for place in same.values() if place[0] == name]
        edits += _rented_fewer(spec, name, indexes) if _rentable(spec, name) else _all_taken(spec, name, indexes)
    return tuple(edits), tuple(sorted(same))


def _same_machine(place: NodePlace, places: Iterable[NodePlace]) -> set[tuple[str, int]]:
    """The nodes of other pools that have the address of a node. An address that a pool has more than once (127.0.0.1) names no machine."""
    if place[2] is None:
        return set()
    count = Counter(other[0] for other in places if other[2] == place[2])
    if count[place[0]] > 1:
        return set()
    return {other[:2] for other in places if other[2] == place[2] and other[0] != place[0] and count[other[0]] == 1}


def lost_pool(spec: FleetSpec, pool: str) -> Lost:
    """What to set so that none of a pool's GPUs can be used, and its nodes; workloads that are pinned to it stay so."""
    if pool not in spec.names("pools"):
        close = nearest(pool, spec.names("pools"))
        hint = f"did you mean {close!r}? " if close else ""
        raise ValueError(f"no pool is called {pool[:60]!r}; {hint}there are: {', '.join(spec.names('pools')[:12])}")
    nodes = [(name, place[1]) for name, place in _nodes(spec) if place[0] == pool]
    edits: list[tuple[str, Any]] = []
    if _rentable(spec, pool):
        edits = [(f"pools.{pool}.nodes", str(len(nodes)))]
        edits += [(f"pools.{pool}.{field}", None) for field in ("ownership", "min_nodes", "max_nodes")]
    edits += _all_taken(spec, pool, [index for _, index in nodes])
    return tuple(edits), tuple(name for name, _ in nodes)


def _nodes(spec: FleetSpec) -> Iterator[tuple[str, NodePlace]]:
    """Each node's name with its pool, its number and its address, of pools that say how many they have."""
    for pool in spec.names("pools"):
        hosts = spec.get(f"pools.{pool}.hosts")
        count = (spec.get(f"pools.{pool}.max_nodes") if _rentable(spec, pool) else None) or spec.get(f"pools.{pool}.nodes")
        for index in range(int(count) if isinstance(count, str) and count.isdecimal() and len(count) <= _MOST_DIGITS else 0):
            host = hosts[index] if isinstance(hosts, list) and index < len(hosts) else None
            yield f"{pool}-{index}", (pool, index, host)


def _rentable(spec: FleetSpec, pool: str) -> bool:
    return bool(spec.get(f"pools.{pool}.ownership") == "rentable")


def _rented_fewer(spec: FleetSpec, pool: str, indexes: list[int]) -> Iterator[tuple[str, Any]]:
    most = spec.get(f"pools.{pool}.max_nodes") or spec.get(f"pools.{pool}.nodes")
    left = int(most) - len(indexes)
    if left < 1:
        yield from lost_pool(spec, pool)[0]
        return
    yield f"pools.{pool}.max_nodes", str(left)
    hosts = spec.get(f"pools.{pool}.hosts")
    if isinstance(hosts, list):
        yield f"pools.{pool}.hosts", [host for index, host in enumerate(hosts) if index not in indexes]
    for field in ("nodes", "min_nodes"):
        value = spec.get(f"pools.{pool}.{field}")
        if value is not None and int(value) > left:
            yield f"pools.{pool}.{field}", str(left)


def _all_taken(spec: FleetSpec, pool: str, indexes: list[int]) -> Iterator[tuple[str, Any]]:
    count = spec.get(f"pools.{pool}.gpus_per_node")
    if not isinstance(count, str) or not count.isdecimal() or len(count) > _MOST_DIGITS:
        raise ValueError(f"pools.{pool}.gpus_per_node: is no whole number, so nobody knows which GPUs a node has")
    gpus = list(map(str, range(int(count))))
    gone = {str(index) for index in indexes}
    written = spec.get(f"pools.{pool}.taken")
    # what is no entry stays, and is refused where the fleet is read
    others = [item for item in written if not (isinstance(item, dict) and item.get("node") in gone)] if isinstance(written, list) else []
    yield f"pools.{pool}.taken", [*others, *({"node": index, "gpus": gpus} for index in sorted(gone, key=int))]
