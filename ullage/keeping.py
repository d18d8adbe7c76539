"""What a reconcile loop is made of: the backend of its state folder, the plan to keep, and what happens between two passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from executor.errors import ExecutorError
from executor.events import OnEvent
from executor.reconcile.kept_goal import ReadGoal
from executor.reconcile.loop import OnReport, watch
from executor.reconcile.loop_metrics import serving
from executor.reconcile.memory import PassReport
from executor.reconcile.reconciler import Reconciler
from executor.reconcile.run import Settings, reconciler
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from executor.state.journal import utc_today
from planner.plan import Plan
from ullage import local_files
from ullage.checking import architectures_from, checked
from ullage.engine_of_state import engine_of
from ullage.inputs import read_plan
from ullage.kv_blocks import least_kv_blocks
from ullage.plugins import BACKENDS, load
from ullage.replanning import Replanner, ReplanSettings
from ullage.schedule_folder import plan_at


@dataclass(frozen=True, slots=True)
class Keeper:
    """One state folder and how its plan is kept: plan is the file, or the folder of a schedule (None: what was applied last).

    engine is a kind of engine; today tells the time, by which a schedule is followed.
    """

    folder: StateFolder
    plan: Path | None
    engine: str | None
    fleet_folder: Path | None
    today: Callable[[], datetime] = utc_today

    def reconciler(self, on_event: OnEvent, *, retry: bool) -> Reconciler:
        """A reconciler on the backend of the state folder. Raises ValueError or StateError where there is none."""
        kind = self.engine or engine_of(self.folder.root)
        origin = local_files.fleet_folder(self.plan or self.folder.root, self.fleet_folder)
        backend = load("backends", BACKENDS, kind)(self.folder, origin)
        settings = Settings(engine=kind, retry=retry)
        return reconciler(self.folder, backend, settings, least_kv_blocks(architectures_from(origin)), on_event)

    @property
    def read_goal(self) -> ReadGoal:
        """Reads the plan to keep: the file, checked as apply checks it, or what was applied last."""
        return self._from_state if self.plan is None else self._from_file

    def _from_state(self) -> Plan | None:
        return goal_of(self.folder)

    def _from_file(self) -> Plan | None:
        assert self.plan is not None
        try:
            architectures = architectures_from(local_files.fleet_folder(self.plan, self.fleet_folder))
            if self.plan.is_dir():
                return plan_at(self.plan, self.today(), self.folder.load(), architectures)
            return checked(read_plan(self.plan), str(self.plan), architecture=architectures)
        except ValueError as error:
            raise ExecutorError(str(error)) from error


async def go_on(
    made: Reconciler,
    keeper: Keeper,
    interval_s: float,
    metrics_port: int | None,
    on_report: OnReport,
    replan: ReplanSettings | None,
    say: Callable[[str], None],
) -> None:
    """Pass after pass until SIGTERM or Ctrl-C; say tells what is decided between them."""
    replanner = Replanner(replan, keeper.folder, time.monotonic, say) if replan is not None else None

    async def between() -> None:
        if replanner is not None:
            await replanner.look(made.requests)

    async with serving(metrics_port) as metrics:

        def told(report: PassReport) -> None:
            metrics.add(report)
            on_report(report)

        try:
            await watch(made, keeper.read_goal, interval_s, told, between)
        finally:
            if replanner is not None:
                await replanner.end()
