"""What a router refuses while steps of a playbook are in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from pydantic import Field

from planner.plan import BurstStep, Desired, Route
from planner.plan.bounds import PlanPart
from planner.playbook.burst_moves import NO_MOVES, BurstMoves, moves_of


class BurstClaim(PlanPart):
    """Whom the steps of one burst refuse and move: two bursts may want the same, and the end of one is not that of the other."""

    workloads: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()

    def plus(self, other: BurstClaim) -> BurstClaim:
        """Both, sorted."""
        return BurstClaim(
            workloads=tuple(sorted({*self.workloads, *other.workloads})), replicas=tuple(sorted({*self.replicas, *other.replicas}))
        )

    def minus(self, other: BurstClaim) -> BurstClaim:
        """What the other one does not have."""
        return BurstClaim(
            workloads=tuple(name for name in self.workloads if name not in other.workloads),
            replicas=tuple(name for name in self.replicas if name not in other.replicas),
        )


def claimed(steps: Iterable[BurstStep]) -> BurstClaim:
    """What steps of one burst ask for."""
    found = list(steps)
    return BurstClaim(
        workloads=tuple(sorted({name for step in found for name in step.refuses})), replicas=tuple(sorted(moves_of(found).names))
    )


class Refusals(PlanPart):
    """Workloads whose requests are refused, sorted by name, and what that means for the router.

    names: the requests for such a name that say in a header that they are of one of these workloads. closed: all requests for these names.
    moves are of replicas, of the plan whose desired world has this hash; documents without any have neither field. bursts say for which
    burst ("chat x2") what is done.
    """

    workloads: tuple[str, ...] = ()
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    closed: tuple[str, ...] = ()
    moves: BurstMoves = Field(default=NO_MOVES, exclude_if=lambda moves: not moves.names)
    desired_sha256: str = Field(default="", exclude_if=lambda digest: not digest)
    bursts: dict[str, BurstClaim] = Field(default_factory=dict, exclude_if=lambda bursts: not bursts)


def refusals(desired: Desired, workloads: Iterable[str]) -> Refusals:
    """To refuse these workloads: a model that serves nobody else is closed, of others requests are told apart by the header.

    Raises ValueError for a workload that the plan does not have.
    """
    refused = frozenset(workloads)
    unknown = refused - {workload.name for workload in desired.workloads}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no workload of the plan")
    names: dict[str, tuple[str, ...]] = {}
    closed: list[str] = []
    for served_name in sorted({workload.served_name for workload in desired.workloads}):
        members = {workload.name for workload in desired.workloads if workload.served_name == served_name}
        called = sorted({name for replica in desired.replicas if replica.served_name == served_name for name in replica.args.names})
        if members <= refused:
            closed += called
        elif members & refused:
            names |= {name: tuple(sorted(members & refused)) for name in called}
    return Refusals(workloads=tuple(sorted(refused)), names=names, closed=tuple(closed))


def open_routes(routes: Sequence[Route], closed: Set[str]) -> tuple[Route, ...]:
    """The routes with nobody behind the names that are closed: a router answers 503 for them."""
    return tuple(route.model_copy(update={"backends": ()}) if route.served_name in closed else route for route in routes)
