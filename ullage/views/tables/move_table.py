"""The actions between two worlds as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from planner.plan import Action, MigPlace, Repartition, Replica, SetRoutes, Start

TableCell: TypeAlias = str | int | float | bool | None
TableRow: TypeAlias = dict[str, TableCell]

MOVE_COLUMNS = ("step", "action", "replica", "served_name", "node", "gpus", "mig_layout", "routes", "loaded_mib", "start_s", "reason")


def move_rows(actions: Sequence[Action], replicas: Iterable[Replica]) -> list[TableRow]:
    """One row per action, in their order; step counts from 1.

    replicas are those of either world; the later one of a name says where it is. A replica that goes and is none of them has a name only.
    loaded_mib are the weights that a start loads, on all of its GPUs; routes counts the models of a new set of routes.
    """
    known = {replica.name: replica for replica in replicas}
    return [_move(step, action, known) for step, action in enumerate(actions, start=1)]


def _move(step: int, action: Action, known: Mapping[str, Replica]) -> TableRow:
    name = None if isinstance(action, Repartition | SetRoutes) else action.replica
    replica = known.get(name) if name is not None else None
    row: TableRow = dict.fromkeys(MOVE_COLUMNS)
    row |= {"step": step, "action": action.kind, "replica": name, "reason": action.reason}
    if replica is not None:
        row |= {"served_name": replica.served_name, "node": replica.node, "gpus": _joined(replica.gpus)}
    if isinstance(action, Repartition):
        row |= {"node": action.node, "gpus": str(action.gpu), "mig_layout": _layout(action.layout)}
    if isinstance(action, SetRoutes):
        row["routes"] = len(action.routes)
    if isinstance(action, Start):
        row |= {"node": action.node, "gpus": _joined(action.gpus)}
    if replica is not None and isinstance(action, Start):
        row |= {"loaded_mib": replica.ledger.weights_mib * len(replica.gpus), "start_s": replica.start_s}
    return row


def _joined(gpus: Sequence[int]) -> str:
    return ", ".join(map(str, gpus))


def _layout(layout: Sequence[MigPlace]) -> str:
    return ", ".join(f"{place.profile}@{place.start}" for place in layout) or "undivided"
