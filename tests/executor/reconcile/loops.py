"""A reconciler on remembered replicas, with a clock that a test turns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from executor.applying.apply import apply_to
from executor.events import Event
from executor.reconcile.attempts import Attempts, BackOff
from executor.reconcile.health import HealthWatch, Patience
from executor.reconcile.kept_goal import ReadGoal
from executor.reconcile.memory import PassReport, recall
from executor.reconcile.observe import LeastKvBlocks, Observer
from executor.reconcile.reconciler import Reconciler, Surroundings
from executor.reconcile.run import unknown_kv
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from planner.disruption_budget import DisruptionBudget
from planner.plan import Plan, Replica, RouterPlan, State
from planner.rollout_rules import Rollout
from planner.routes import routes_for
from planner.transitions.change import change
from tests.executor.memory_backend import MemoryBackend
from tests.executor.worlds import engine
from tests.plans import plan_of

ROUTER = RouterPlan(host="127.0.0.1", port=2001, admin_port=2002)


@dataclass
class Loop:
    """One state folder, its backend, and the loop over it."""

    root: Path
    backend: MemoryBackend = field(default_factory=MemoryBackend)
    now_s: float = 1000.0
    # a Thursday
    today: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)
    budget: DisruptionBudget = field(default_factory=DisruptionBudget)
    rollout: Rollout = field(default_factory=Rollout)
    least_kv_blocks: LeastKvBlocks = unknown_kv
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = StateFolder(self.root)
        self.reconciler = self.fresh()

    def fresh(self) -> Reconciler:
        """As a loop that has just been started."""
        watch = HealthWatch(Patience(silent_s=30.0, still_s=30.0, try_every_s=60.0, try_limit_s=10.0))
        return Reconciler(
            Surroundings(
                folder=self.folder,
                backend=self.backend,
                observer=Observer(self.backend, watch, self.least_kv_blocks, lambda: self.now_s),
                attempts=Attempts(BackOff(), lambda: 0.0, recall(self.folder.reconcile_path).attempts),
                clock=lambda: self.now_s,
                today=lambda: self.today,
                on_event=self.events.append,
            )
        )

    def plan(self, *replicas: Replica, state: State | None = None) -> Plan:
        """From what the state says to these replicas."""
        wanted = tuple(sorted(replicas, key=lambda replica: replica.name))
        gpu_count = 1 + max((gpu for replica in wanted for gpu in replica.gpus), default=0)
        blank = plan_of(wanted, gpu_count=gpu_count).desired
        rules = blank.rules.model_copy(update={"disruption_budget": self.budget, "rollout": self.rollout})
        desired = blank.model_copy(update={"routes": routes_for(wanted), "router": ROUTER, "rules": rules})
        return change(state if state is not None else self.folder.load(), desired)

    def apply(self, *replicas: Replica) -> Plan:
        plan = self.plan(*replicas)
        asyncio.run(apply_to(plan, self.folder, self.backend))
        self.backend.done.clear()
        return plan

    def once(self, goal: Plan | None = None, *, later_s: float = 0.0) -> PassReport:
        """One pass, some time after the last one; to what was applied last, unless a goal is given."""
        self.now_s += later_s
        return self.once_from(lambda: goal if goal is not None else goal_of(self.folder))

    def once_from(self, read_goal: ReadGoal) -> PassReport:
        """One pass to what is read under its lock."""
        self.backend.done.clear()
        return asyncio.run(self.reconciler.once(read_goal))


def two() -> tuple[Replica, Replica]:
    """Two models, each on a GPU of its own."""
    return engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1)
