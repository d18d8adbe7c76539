"""Plan again when the demand that engines see leaves the planned one, and keep the new plan if it is worth the change."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from executor.state.goal import goal_of, set_goal
from executor.state.lock import locked
from planner.demand.scaled import declared_rps
from planner.envelope import DemandRecord, EngineOf, outside, planned_rps
from planner.plan import Desired, Plan, plan_hash
from ullage.inputs import read_fleet, read_plan

# Our choice: a fifth more than planned is beyond what the margins of a plan are for (policy.risk.spare_load_factor is 1.1).
TOLERANCE_FRACTION = 0.2

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class ReplanSettings:
    """When to plan again: after demand was outside for after_s seconds, at most per_hour times, for a saving of at least gain_fraction.

    fleet is the fleet file. shadow: say what would be done, and keep the plan.
    """

    fleet: Path
    after_s: float = 600.0
    gain_fraction: float = 0.05
    per_hour: int = 2
    shadow: bool = False


class NewPlan(NamedTuple):
    """A plan for the demand that is observed, the one that was kept when it was begun, and whether any demand has grown."""

    before: Plan
    plan: Plan
    grows: bool


class Replanner:
    """Looks at demand after each pass of the loop; plans in a process of its own, so that the loop goes on meanwhile."""

    def __init__(self, settings: ReplanSettings, folder: StateFolder, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        """Clock counts seconds and never goes back; say tells people what is decided and why."""
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._say = say
        self._record = DemandRecord(settings.after_s)
        self._begun_s: deque[float] = deque()
        self._goal = ""
        # the plan in the making
        self.working: asyncio.Task[NewPlan | None] | None = None

    async def look(self, requests: Mapping[EngineOf, int] | None) -> None:
        """Requests that each engine has got so far, None where nobody has looked since.

        Begins to plan where demand has been outside for long enough.
        """
        if self.working is not None:
            if not self.working.done():
                return
            # between two passes, which hold the lock themselves
            self._finish(self.working)
            self.working = None
        try:
            goal = goal_of(self._folder)
        except ExecutorError:
            # the pass tells it
            return
        if goal is None or requests is None:
            return
        if plan_hash(goal) != self._goal:
            self._goal = plan_hash(goal)
            self._record.forget()
        now_s = self._clock()
        self._record.add(now_s, requests)
        found = outside(goal.desired, self._record.rates_rps(), TOLERANCE_FRACTION, self._settings.after_s)
        if found and self._may_begin(now_s):
            told = ", ".join(f"{name} x{factor:.2f}" for name, factor in sorted(found.items()))
            self._say(f"demand has left the plan for {self._settings.after_s:g} s ({told}): planning again")
            self._record.forget()
            self.working = asyncio.create_task(self._replan(goal, found))

    async def end(self) -> None:
        """Stop planning."""
        if self.working is not None:
            self.working.cancel()
            await asyncio.gather(self.working, return_exceptions=True)

    def _may_begin(self, now_s: float) -> bool:
        while self._begun_s and self._begun_s[0] <= now_s - _HOUR_S:
            self._begun_s.popleft()
        if len(self._begun_s) >= self._settings.per_hour:
            return False
        self._begun_s.append(now_s)
        return True

    async def _replan(self, goal: Plan, found: Mapping[str, float]) -> NewPlan | None:
        factors = scales(goal.desired, declared_rps(read_fleet(self._settings.fleet)), found)
        plan = await self._planned(factors)
        return None if plan is None else NewPlan(goal, plan, any(factor > 1 for factor in found.values()))

    def _finish(self, work: asyncio.Task[NewPlan | None]) -> None:
        """Errors are told: the loop goes on with the plan that it has."""
        try:
            made = work.result()
            if made is not None:
                self._decide(made.before, made.plan, grows=made.grows)
        except (ExecutorError, ValueError, OSError) as error:
            self._say(f"planning again failed, the plan stays: {error}")

    async def _planned(self, factors: Mapping[str, float]) -> Plan | None:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "plan.json"
            words = [word for name, factor in sorted(factors.items()) for word in ("--scale", f"{name}={factor:.4g}")]
            argv = (sys.executable, "-P", "-m", "ullage", "plan", str(self._settings.fleet), "--state", str(self._folder.root))
            process = await asyncio.create_subprocess_exec(
                *argv, "-o", str(out), *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            try:
                _, complaint = await process.communicate()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
            if process.returncode:
                self._say(f"planning again failed, the plan stays: {complaint.decode(errors='replace').strip()}")
                return None
            return read_plan(out)

    def _decide(self, goal: Plan, plan: Plan, *, grows: bool) -> None:
        """Keep the new plan where it serves more, or saves enough."""
        before_usd, after_usd = goal.desired.cost_usd_per_h, plan.desired.cost_usd_per_h
        told = f"{before_usd:.2f} to {after_usd:.2f} USD/h, {len(plan.actions)} actions"
        saved_fraction = (before_usd - after_usd) / before_usd if before_usd else 0.0
        if plan.actions and not grows and saved_fraction < self._settings.gain_fraction:
            least = f"{self._settings.gain_fraction:.1%}"
            self._say(f"the new plan ({told}) saves {saved_fraction:.1%}, below {least}: the plan stays")
        elif self._settings.shadow:
            self._say(f"shadow: would keep the new plan from now on ({told})")
        else:
            with locked(self._folder.lock_path, "replan"):
                if goal_of(self._folder) != goal:
                    self._say("another plan was applied meanwhile: the new one is dropped")
                    return
                set_goal(self._folder, plan)
            # without actions, too: its rates are those that demand may leave next
            self._say(f"keeps a new plan from now on ({told})")


def scales(desired: Desired, declared: Mapping[str, float], found: Mapping[str, float]) -> dict[str, float]:
    """Factors on the declared demand: what is observed where it is outside, what the plan has for the rest (it may be scaled itself)."""
    planned = planned_rps(desired)
    return {name: found.get(name, 1.0) * planned[name] / rps for name, rps in sorted(declared.items()) if rps and planned.get(name)}
