"""A reconciler over real processes and a real Envoy, whose clock a test turns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from executor.backends.protocol import Backend
from executor.reconcile.attempts import Attempts, BackOff
from executor.reconcile.health import HealthWatch, Patience
from executor.reconcile.memory import PassReport, recall
from executor.reconcile.observe import Observer
from executor.reconcile.reconciler import Reconciler, Surroundings
from executor.reconcile.run import unknown_kv
from executor.state.goal import goal_of
from planner.plan import Plan
from tests.executor.worlds import World

PATIENCE = Patience(try_limit_s=2.0)


@dataclass
class Keeper:
    """One loop; between two passes as much time passes as a test says, whatever the machine takes."""

    world: World
    backend: Backend | None = None
    now_s: float = 1000.0
    longest_wait_s: float = 1000.0
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        backend = self.backend if self.backend is not None else self.world.backend()
        self.backend = backend
        self.reconciler = Reconciler(
            Surroundings(
                folder=self.world.folder,
                backend=backend,
                observer=Observer(backend, HealthWatch(PATIENCE), unknown_kv, lambda: self.now_s),
                attempts=Attempts(BackOff(), lambda: 0.0, recall(self.world.folder.reconcile_path).attempts),
                clock=lambda: self.now_s,
                on_event=self.world.events.append,
            )
        )

    def once(self, goal: Plan | None = None, *, later_s: float = 1.0) -> PassReport:
        """One pass, to what was applied last unless a goal is given."""
        self.now_s += later_s
        return asyncio.run(self.reconciler.once(lambda: goal if goal is not None else goal_of(self.world.folder)))

    def until_steady(self, goal: Plan | None = None, *, later_s: float = 1.0) -> list[PassReport]:
        """Passes until nothing is left to do."""
        reports = [self.once(goal, later_s=later_s)]
        while reports[-1].outcome != "steady" or reports[-1].drift:
            assert len(reports) < 10, reports
            reports.append(self.once(goal, later_s=later_s))
        return reports
