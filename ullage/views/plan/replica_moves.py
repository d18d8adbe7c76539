"""Replicas that come, go, move or start again between two plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from planner.plan import EngineArgs, Replica, Sleep, Start, Stop, Wake
from ullage.planning.plan_change import PlanChange


@dataclass(frozen=True, slots=True)
class ReplicaMove:
    """One replica: where it was (None: it is new) and where it will be (None: it goes), and why."""

    before: Replica | None
    after: Replica | None
    reason: str

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """It before and after, as far as it is there."""
        return tuple(replica for replica in (self.before, self.after) if replica is not None)

    @property
    def served_name(self) -> str:
        """The model that it serves."""
        return self.replicas[0].served_name

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, or those before and after where they differ."""
        return tuple(dict.fromkeys(replica.name for replica in self.replicas))


def replica_moves(change: PlanChange) -> list[ReplicaMove]:
    """One move per replica that the actions touch, in the order of model and name.

    A replica that goes and one of the same model that comes are one move.
    """
    before = {replica.name: replica for replica in change.before.desired.replicas}
    after = {replica.name: replica for replica in change.after.desired.replicas}
    touched = {action.replica: action.reason for action in change.actions if isinstance(action, Start | Stop | Sleep | Wake)}
    stay = [ReplicaMove(before[name], after[name], _why(before[name], after[name])) for name in touched if name in before and name in after]
    going = [before[name] for name in touched if name in before and name not in after]
    coming = [after[name] for name in touched if name in after and name not in before]
    moves = [*stay, *_paired(going, coming, touched)]
    return sorted(moves, key=lambda move: (move.served_name, move.names))


def _paired(going: list[Replica], coming: list[Replica], reasons: Mapping[str, str]) -> Iterator[ReplicaMove]:
    left = list(coming)
    for replica in going:
        follower = next((item for item in left if item.served_name == replica.served_name), None)
        if follower is not None:
            left.remove(follower)
        yield ReplicaMove(replica, follower, "moves" if follower is not None else reasons[replica.name])
    yield from (ReplicaMove(None, item, reasons[item.name]) for item in left)


def _why(before: Replica, after: Replica) -> str:
    """What makes a replica that keeps its name start again."""
    if (before.node, before.gpus, before.mig) != (after.node, after.gpus, after.mig):
        return "moves"
    old, new = ({name: getattr(replica.args, name) for name in EngineArgs.model_fields} for replica in (before, after))
    changed = [name for name in new if new[name] != old[name]]
    if before.engine_version != after.engine_version:
        return f"engine version {before.engine_version} to {after.engine_version}"
    return f"starts again: {', '.join(f'{name} {old[name]} to {new[name]}' for name in changed)}" if changed else "starts again"
