"""Replicas that fall asleep, stop and wake while a workload has a burst, and the world as it is then."""

from __future__ import annotations

from collections.abc import Iterable, Set

from pydantic import Field

from planner.plan import Asleep, BurstStep, Desired, GpuPlan, Replica
from planner.plan.bounds import PlanPart
from planner.routes import routes_for
from planner.sleep_costs import as_asleep


class BurstMoves(PlanPart):
    """Who sleeps, is stopped and is awake otherwise than the plan says, each by name in the order of the steps."""

    asleep: tuple[Asleep, ...] = Field(default=(), exclude_if=lambda asleep: not asleep)
    stopped: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    woken: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.gone | frozenset(self.woken)

    @property
    def gone(self) -> frozenset[str]:
        """Those that serve nobody any more."""
        return frozenset((*self.stopped, *(item.name for item in self.asleep)))

    def after(self, step: BurstStep) -> BurstMoves:
        """With one step more; a step that refuses changes none of them."""
        match step.kind:
            case "sleep":
                return self.model_copy(update={"asleep": (*self.asleep, Asleep(name=step.replica, level=step.level or 1))})
            case "stop":
                return self.model_copy(update={"stopped": (*self.stopped, step.replica)})
            case "wake":
                return self.model_copy(update={"woken": (*self.woken, step.replica)})
            case _:
                return self

    def without(self, names: Set[str]) -> BurstMoves:
        """Those that are not named."""
        return BurstMoves(
            asleep=tuple(item for item in self.asleep if item.name not in names),
            stopped=tuple(name for name in self.stopped if name not in names),
            woken=tuple(name for name in self.woken if name not in names),
        )


NO_MOVES = BurstMoves()


def moves_of(steps: Iterable[BurstStep]) -> BurstMoves:
    """Those of all steps."""
    found = NO_MOVES
    for step in steps:
        found = found.after(step)
    return found


def moved(desired: Desired, moves: BurstMoves) -> Desired:
    """The world with who sleeps, is stopped and is awake now; its replicas as the plan has them, without those that are stopped."""
    if not moves.names:
        return desired
    levels = {item.name: item for item in desired.asleep if item.name not in moves.woken} | {item.name: item for item in moves.asleep}
    replicas = tuple(replica for replica in desired.replicas if replica.name not in moves.stopped)
    known = [route.served_name for route in desired.routes]
    seats = {(item.node, index) for item in desired.replicas if item.name in moves.names for index in item.gpus}
    return desired.model_copy(
        update={
            "replicas": replicas,
            "asleep": tuple(levels[name] for name in sorted(levels)),
            "routes": routes_for([replica for replica in replicas if replica.name not in levels], known),
            "gpus": tuple(
                _gpu(gpu, replicas, levels.keys()) if (gpu.node, gpu.index) in seats and not gpu.mig_layout else gpu for gpu in desired.gpus
            ),
        }
    )


def _gpu(gpu: GpuPlan, replicas: tuple[Replica, ...], asleep: Set[str]) -> GpuPlan:
    here = [item for item in replicas if item.node == gpu.node and gpu.index in item.gpus]
    ledgers = [(as_asleep(item) if item.name in asleep else item).ledger for item in here]
    weights_mib, kv_mib, used_mib = (sum(getattr(ledger, line) for ledger in ledgers) for line in ("weights_mib", "kv_mib", "total_mib"))
    update = {
        "mode": gpu.mode if here else "free",
        "replicas": tuple(sorted(item.name for item in here)),
        "weights_mib": weights_mib,
        "kv_mib": kv_mib,
        "overhead_mib": used_mib - weights_mib - kv_mib,
        "free_mib": gpu.memory_mib - used_mib - gpu.taken_mib,
    }
    return gpu.model_copy(update=update)


def loaded_anew(desired: Desired, moves: BurstMoves) -> Desired:
    """The same world, and the planned load of the models of those that moved as the routes spread it then."""
    then = moved(desired, moves)
    changed = {replica.served_name for replica in desired.replicas if replica.name in moves.names}
    all_rps = {name: sum(replica.planned_rps for replica in desired.replicas if replica.served_name == name) for name in sorted(changed)}
    weights = {
        route.served_name: {backend.replica: backend.weight for backend in route.backends}
        for route in then.routes
        if route.served_name in changed
    }

    def rated(replica: Replica) -> Replica:
        if replica.served_name not in changed:
            return replica
        own = weights.get(replica.served_name, {})
        part = own.get(replica.name, 0) / (sum(own.values()) or 1)
        return replica.model_copy(update={"planned_rps": all_rps[replica.served_name] * part})

    return then.model_copy(update={"replicas": tuple(map(rated, then.replicas))})
