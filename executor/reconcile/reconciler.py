"""One pass: look at what is there, plan the way to the goal, go as far as is allowed now, and look again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from executor.applying.rollback import is_to_blame, plan_before, roll_back, unwatched
from executor.applying.steps import StartingPoint, Steps
from executor.backends.protocol import Backend
from executor.errors import ExecutorError, LockedError, RolledBackError, StartError
from executor.events import Event, OnEvent, ignore
from executor.reconcile.approach import Approach, differs, in_words, safe_way
from executor.reconcile.attempts import Attempts
from executor.reconcile.kept_goal import Goals, ReadGoal
from executor.reconcile.memory import PASSES_KEPT, PassOutcome, PassReport, Remembered, remember
from executor.reconcile.observe import Observer, World
from executor.state.applied_plans import keep
from executor.state.folder import StateFolder
from executor.state.in_force import kept_now
from executor.state.journal import Journal, utc_today
from executor.state.lock import locked
from planner.envelope import EngineOf
from planner.ordering.copies import is_copy_of
from planner.plan import Plan, Replica, State, plan_hash
from planner.transitions.disruptions import Allowed, actions_now, allowed_now, cut_short

# Each round gets at least one action further, or finds one more replica that cannot start: more rounds than that wait for the next pass.
_MOST_ROUNDS = 20

_NO_GOAL = "no plan was applied from this state folder, so there is nothing to keep; apply one, or give `ullage reconcile` a plan"

# The process of a replica in such a condition is at its end.
_ENDINGS = frozenset({"dead", "hung", "few_kv_blocks"})


@dataclass(slots=True)
class _Account:
    """What a pass did so far."""

    actions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    drift: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the reconciler is given: clock counts seconds and never goes back; today is the date and time, with a time zone."""

    folder: StateFolder
    backend: Backend
    observer: Observer
    attempts: Attempts
    clock: Callable[[], float]
    engine: str | None = None
    today: Callable[[], datetime] = utc_today
    on_event: OnEvent = ignore


class Reconciler:
    """Keeps what runs equal to a goal."""

    def __init__(
        self, surroundings: Surroundings, passes: tuple[PassReport, ...] = (), rejected: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Nothing is looked at yet; passes are those before, rejected the plans that were taken back."""
        self._with = surroundings
        self._passes = passes
        # the goal that the journal, of this length, says was reached
        self._noted: tuple[str, int] | None = None
        self._goals = Goals(surroundings.folder, surroundings.backend, surroundings.engine, rejected)
        # requests that each engine has got so far, as it counts them; None where the last pass did not look
        self.requests: Mapping[EngineOf, int] | None = None
        # whether a replica may hang, which a later look will show
        self.unsure = False

    async def once(self, read_goal: ReadGoal, *, dry_run: bool = False) -> PassReport:
        """One pass. Errors of the executor are in the report; a dry run changes nothing and needs no lock.

        The goal is read under the lock: one that a destroy has just taken away must not come back. Where it cannot be read, that is
        told, and what was kept before is kept further.
        """
        began, began_s = self._with.today().isoformat(timespec="milliseconds"), self._with.clock()
        self.unsure, self.requests = False, None
        account = _Account()
        outcome: PassOutcome
        try:
            if dry_run:
                await self._dry(read_goal(), account)
            elif not self._with.folder.root.exists() and read_goal() is None:
                # a wrong name of a folder must not make one
                account.drift = (_NO_GOAL,)
            else:
                self._with.folder.create()
                with locked(self._with.folder.lock_path, "reconcile"):
                    goal, account.rejected = self._goals.choose(read_goal, account.failures)
                    await self._rounds(goal, account)
                    account.drift += tuple(f"logs: {trouble}" for trouble in self._with.backend.tidy())
            outcome = "failed" if account.failures else "changed" if account.actions else "steady"
        except LockedError as error:
            outcome = "busy"
            account.drift = (str(error),)
        except ExecutorError as error:
            outcome = "failed"
            account.failures.append(str(error))
        duration_s = self._with.clock() - began_s
        report = PassReport(
            began, duration_s, outcome, tuple(account.actions), tuple(account.failures), (*account.rejected, *account.drift)
        )
        if not dry_run and outcome != "busy" and self._with.folder.root.exists():
            self._passes = (*self._passes, report)[-PASSES_KEPT:]
            self._remember()
        return report

    def _remember(self) -> None:
        remember(self._with.folder.reconcile_path, Remembered(self._passes, self._with.attempts.all, self._goals.rejected))

    async def _dry(self, goal: Plan | None, account: _Account) -> None:
        if goal is None:
            account.drift = (_NO_GOAL,)
            return
        state = self._with.folder.load()
        world = await self._with.observer.look(state)
        self.unsure = world.suspect
        kept = kept_now(self._with.folder, goal, forget=False)
        way, allowed, count = self._next(world, kept, state)
        plan = way.plan if count == len(way.plan.actions) else cut_short(way.plan, world.state, count)
        account.actions = [f"{in_words(action)}: {action.reason}" for action in plan.actions]
        account.actions += [f"stop {name}: not in the state" for name in world.strays]
        account.drift = (*self._drift(world, way, goal), *allowed.reasons)

    async def _rounds(self, goal: Plan | None, account: _Account) -> None:
        if goal is None:
            account.drift = (_NO_GOAL,)
            return
        wanted = [replica.name for replica in goal.desired.replicas]
        copies = [attempt.name for attempt in self._with.attempts.all if is_copy_of(attempt.name, wanted)]
        self._with.attempts.keep_only([*wanted, *copies])
        kept = kept_now(self._with.folder, goal)
        for _ in range(_MOST_ROUNDS):
            state = self._with.folder.load()
            world = await self._with.observer.look(state)
            self.unsure = world.suspect
            self.requests = _requests(state, world)
            self._note_deaths(world)
            way, allowed, count = self._next(world, kept, state)
            account.drift = (*self._drift(world, way, kept), *allowed.reasons)
            arrives = count == len(way.plan.actions)
            plan = way.plan if arrives else cut_short(way.plan, world.state, count)
            if not (plan.actions or self._strays(world, way.plan) or (arrives and differs(state, plan.desired))):
                if not way.left_out and arrives:
                    self._note_end(goal, state)
                return
            await self._act(plan, world, goal, account, arrives=arrives, whole=arrives and not way.left_out)

    def _strays(self, world: World, plan: Plan) -> list[str]:
        """Those to stop: what a start of the plan will adopt is left for it, also where the start has to wait."""
        wanted = {replica.name: replica for replica in plan.started}

        def adopted(name: str) -> bool:
            seen = world.observed[name]
            return name in wanted and seen.alive and seen.command_hash == self._with.backend.wanted_hash(wanted[name])

        return [name for name in world.strays if not adopted(name)]

    def _next(self, world: World, kept: Plan, state: State) -> tuple[Approach, Allowed, int]:
        """The way to the goal, how far the disruption budget allows it, and how many of its actions come now."""
        way = safe_way(world, kept, state, self._refusal)
        allowed = self._allowed(way, world, kept)
        count = actions_now(way.plan, allowed)
        if count is None:
            way = safe_way(world, kept, state, self._refusal, with_copies=False)
            allowed = self._allowed(way, world, kept)
            count = allowed.actions
        return way, allowed, count

    def _allowed(self, way: Approach, world: World, goal: Plan) -> Allowed:
        """How far the disruption budget lets the actions go now."""
        runs = {replica.name for replica in way.plan.desired.replicas}
        down = sum(replica.name not in runs for replica in goal.desired.replicas)
        return allowed_now(way.plan, world.state, world.repairs.useless.keys(), down, self._with.today())

    def _refusal(self, replica: Replica) -> str | None:
        """Why a replica may not be started now."""
        return self._with.attempts.refusal(replica.name, self._with.backend.wanted_hash(replica), self._with.clock())

    async def _act(self, plan: Plan, world: World, goal: Plan, account: _Account, *, arrives: bool, whole: bool) -> None:
        """Do the actions. A replica that does not start is noted, and whatever else fails is raised.

        arrives: they lead to the desired world of the plan; whole: and that is the goal.
        """
        folder = self._with.folder
        journal = Journal(folder.journal_path)
        state = folder.load()
        reached = journal.reached()
        new = reached != plan_hash(goal)
        previous = plan_before(folder, goal, reached) if new and goal.desired.rules.rollout.window_s else None
        start = StartingPoint(world.state, state.serial + new)
        watched = plan if previous is not None else unwatched(plan)
        steps = Steps(watched, folder, self._with.backend, journal, self._telling(account), start)
        journal.begin(plan_hash(plan), state.serial, goal=plan_hash(goal) if whole else "")
        try:
            await steps.run(frozenset(), arrives=arrives)
        except asyncio.CancelledError:
            journal.end(ok=False, detail="interrupted")
            raise
        except ExecutorError as error:
            journal.end(ok=False, detail=str(error))
            if previous is not None and is_to_blame(error, goal, previous):
                await self._take_back(goal, previous, error, account)
            if not isinstance(error, StartError):
                raise
            account.failures.append(str(error))
            self._note_failure(error, plan)
            return
        if new and whole:
            keep(folder, goal, steps.state.serial)
        journal.end(ok=True)

    async def _take_back(self, goal: Plan, previous: Plan, error: ExecutorError, account: _Account) -> None:
        """Raises RolledBackError once what ran before runs again."""
        account.failures.append(str(error))

        def begun() -> None:
            self._goals.reject(goal, str(error).partition("\n")[0])
            self._remember()

        await roll_back(previous, self._with.folder, self._with.backend, self._telling(account), begun)
        raise RolledBackError("the change was taken back: what ran before runs again") from error

    def _note_end(self, goal: Plan, state: State) -> None:
        """All is as planned: so say journal and history, also where whoever did the last action died before it could note its end."""
        folder, digest = self._with.folder, plan_hash(goal)
        length_bytes = folder.journal_path.stat().st_size if folder.journal_path.exists() else 0
        if self._noted == (digest, length_bytes):
            # nobody has written anything since: a long journal is not read in every pass
            return
        journal = Journal(folder.journal_path)
        if journal.reached() == digest and journal.unfinished() is None:
            self._noted = (digest, length_bytes)
            return
        journal.begin(digest, state.serial, goal=digest)
        keep(folder, goal, state.serial)
        journal.end(ok=True)

    def _telling(self, account: _Account) -> OnEvent:
        """Events go to whoever listens, and what was done into the account."""

        def tell(event: Event) -> None:
            if event.what in ("done", "note"):
                what = f"{event.subject}: {event.detail}" if event.what == "note" else f"{event.kind} {event.subject}"
                account.actions.append(what)
            self._with.on_event(event)

        return tell

    def _note_failure(self, error: StartError, plan: Plan) -> None:
        replica = next(replica for replica in plan.started if replica.name == error.replica)
        digest = self._with.backend.wanted_hash(replica)
        reason = f"{str(error).partition(chr(10))[0]}; {error.failure.advice}"
        self._with.attempts.failed(error.replica, digest, reason, self._with.clock(), permanent=error.failure.permanent)

    def _note_deaths(self, world: World) -> None:
        """Each death counts once; what runs is told to those who remember failures."""
        now_s = self._with.clock()
        for name, seen in world.observed.items():
            condition = world.conditions.get(name)
            if condition is not None and condition.kind == "ready":
                self._with.attempts.ready(name, now_s)
            if condition is None or condition.kind not in _ENDINGS:
                continue
            lasting = condition.kind == "few_kv_blocks"
            self._with.attempts.died(name, seen.command_hash, seen.pid, condition.detail, now_s, permanent=lasting)

    def _drift(self, world: World, way: Approach, goal: Plan) -> tuple[str, ...]:
        """What is not as planned, and stays so for now."""
        wanted = {replica.name for replica in goal.desired.replicas}
        waits = {line.partition(":")[0].removeprefix("replica ") for line in way.left_out}
        troubled = (
            f"replica {name}: {condition.detail}"
            for name, condition in sorted(world.conditions.items())
            if condition.kind != "ready" and name in wanted and name not in waits
        )
        return (*world.remarks, *troubled, *way.left_out)


def _requests(state: State, world: World) -> dict[EngineOf, int]:
    """What each engine that answered has got so far: requests that have left it, and those in it."""
    found: dict[EngineOf, int] = {}
    for replica in state.replicas:
        load, seen = world.loads.get(replica.name), world.observed.get(replica.name)
        if load is not None and load.finished_requests is not None and seen is not None:
            found[EngineOf(replica.served_name, f"{replica.name}/{seen.pid}")] = load.finished_requests + load.running + load.waiting
    return found
