"""The actions of one plan, done one by one with journal and state kept in step.

A replica leaves the state before it is stopped and enters it only once it is ready, so the state never names what was not started,
and what runs without being named is found by its process record: adopted by a Start of the same command, else stopped. The state says that
a replica sleeps from when it does until it makes a token again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from executor.applying.canary import Canary
from executor.applying.mending import Mending
from executor.applying.starts import run_starts
from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.events import Event, OnEvent
from executor.state.folder import StateFolder
from executor.state.journal import Journal
from executor.waiting import all_of, finish
from planner.plan import Action, Asleep, Drain, GpuPlan, Plan, Repartition, Replica, SetRoutes, Sleep, Start, State, Stop, Wake, state_of
from planner.rollout import canary_routes

NumberedAction = tuple[int, Action]


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """The state that the actions begin with, and its serial once anything has changed."""

    state: State
    serial_after: int


class Steps:
    """One apply under the lock: the plan, where its effects go, and the state as it is now."""

    def __init__(
        self, plan: Plan, folder: StateFolder, backend: Backend, journal: Journal, on_event: OnEvent, start: StartingPoint
    ) -> None:
        """Nothing is done yet."""
        self.state = start.state
        self._serial = start.serial_after
        self._plan = plan
        self._folder = folder
        self._backend = backend
        self._router = backend.router
        self._journal = journal
        self._on_event = on_event
        self._mending = Mending(backend, plan.desired.router, lambda: self.state, self.note)
        self._canary = Canary(backend, plan.desired, start.state)
        self._tried: set[str] = set()
        self._touched = {action.replica for action in plan.actions if isinstance(action, (Start, Stop, Wake))}
        self._wanted = {replica.name: replica for replica in plan.started}

    async def run(self, done: frozenset[int], *, arrives: bool = True) -> None:
        """Do what is not done yet; the first failure ends it. arrives: the actions lead to the desired world, and not only towards it."""
        done = self._still_done(done)
        await finish(self._stop_strays())
        await finish(self._ensure_router())
        await self._start_again()
        remaining = [(number, action) for number, action in enumerate(self._plan.actions) if number not in done]
        for kind, group in groupby(remaining, key=lambda numbered: numbered[1].kind):
            await self._batch(kind, list(group))
        if not arrives:
            return
        self._become(state_of(self._plan.desired, self.state.serial))

    def note(self, subject: str, detail: str) -> None:
        """Tell something that belongs to no action, and keep it in the journal."""
        self._journal.note(subject, detail)
        self._on_event(Event("note", 0, len(self._plan.actions), "note", subject, detail))

    def _still_done(self, done: frozenset[int]) -> frozenset[int]:
        """Without the starts and wakes whose process has died since, and the sleeps after them; the state forgets what was started."""
        living = self._living()
        lost: dict[int, str] = {}
        for number in sorted(done):
            action = self._plan.actions[number]
            if not isinstance(action, Start | Sleep | Wake) or action.replica in living:
                continue
            if isinstance(action, Start | Wake) or action.replica in lost.values():
                lost[number] = action.replica
            if isinstance(action, Start):
                self._without(action.replica)
        return done - lost.keys()

    def _living(self) -> frozenset[str]:
        return frozenset(name for name, seen in self._backend.observe().items() if seen.alive)

    async def _stop_strays(self) -> None:
        """Stop recorded processes that the state does not name, unless the plan wants exactly them: then a Start adopts them."""
        named = {replica.name for replica in self.state.replicas}
        for name, seen in self._backend.observe().items():
            if name in named:
                continue
            wanted = name in self._wanted and seen.alive and seen.command_hash == self._backend.wanted_hash(self._wanted[name])
            if not wanted:
                if seen.pids:
                    why = "was left behind by an interrupted apply and" if seen.alive else "has died, and what is left of it"
                    self.note(name, f"{why} is stopped")
                await self._backend.stop(name)

    async def _ensure_router(self) -> None:
        await self._router.ensure(self._plan.desired.router, self.state.routes)
        self._keep(router=self._plan.desired.router)

    async def _start_again(self) -> None:
        """Start replicas that stay but have died since they were applied; one that slept sleeps again, unless a Wake follows."""
        levels = {item.name: item.level for item in self.state.asleep}
        living = self._living()
        dead = [replica for replica in self.state.replicas if replica.name not in self._touched | living]

        async def again(number: int, action: Start) -> None:
            del number
            self.note(action.replica, action.reason)
            await self._backend.start(self._wanted[action.replica], lambda text: self.note(action.replica, text))
            if action.replica in levels:
                await finish(self._backend.sleep(self._wanted[action.replica], levels[action.replica]))

        reason = "does not run any more and is started again"
        await run_starts([(0, Start(replica=item.name, node=item.node, gpus=item.gpus, reason=reason)) for item in dead], again)

    async def _batch(self, kind: str, batch: Sequence[NumberedAction]) -> None:
        """Neighbouring actions of one kind: starts overlap across GPUs, drains and stops overlap, the rest goes one by one."""
        if kind == "start":
            starts = [(number, action) for number, action in batch if isinstance(action, Start)]
            seats = {(action.node, gpu) for _, action in starts for gpu in action.gpus}
            await self._mending.during(run_starts(starts, self._one), self._touched, seats)
        elif kind in ("drain", "stop"):
            # an engine that stops frees memory while a neighbour would measure it
            going = {action.replica for _, action in batch if isinstance(action, (Drain, Stop))}
            seats = {(item.node, gpu) for item in self.state.replicas if item.name in going for gpu in item.gpus}
            await self._mending.during(all_of([self._one(number, action) for number, action in batch]), self._touched, seats)
        else:
            for number, action in batch:
                await self._one(number, action)

    async def _one(self, number: int, action: Action) -> None:
        match action:
            case Start(replica=name):
                await self._journalled(number, action.kind, name, lambda: self._start(number, name))
            case Drain(replica=name):
                await self._journalled(number, action.kind, name, lambda: self._drain(name))
            case Stop(replica=name):
                await finish(self._journalled(number, action.kind, name, lambda: self._stop(name)))
            case Sleep(replica=name):
                await finish(self._journalled(number, action.kind, name, lambda: self._sleep(number, action)))
            case Wake(replica=name):
                await finish(self._journalled(number, action.kind, name, lambda: self._wake(number, name)))
            case Repartition():
                gpu = f"GPU {action.gpu} of {action.node}"
                await finish(self._journalled(number, action.kind, gpu, lambda: self._repartition(action)))
            case SetRoutes():
                await self._try_newcomers(action)
                await finish(self._journalled(number, action.kind, "router", lambda: self._set_routes(action)))

    async def _journalled(self, number: int, kind: str, subject: str, work: Callable[[], Awaitable[str]]) -> None:
        steps = len(self._plan.actions)
        self._journal.intent(number, kind, subject)
        self._on_event(Event("begun", number + 1, steps, kind, subject))
        try:
            detail = await work()
        except asyncio.CancelledError:
            self._journal.result(number, ok=False, detail="interrupted")
            raise
        except ExecutorError as error:
            self._journal.result(number, ok=False, detail=str(error))
            self._on_event(Event("failed", number + 1, steps, kind, subject, str(error)))
            raise
        self._journal.result(number, ok=True, detail=detail)
        self._on_event(Event("done", number + 1, steps, kind, subject, detail))

    async def _start(self, number: int, name: str) -> str:
        if name not in self._wanted:
            raise ExecutorError(f"actions.{number}: starts {name}, which the plan does not have; plan again")
        notes: list[str] = []
        await self._backend.start(self._wanted[name], notes.append)
        self._without(name)
        self._keep(replicas=_sorted((*self.state.replicas, self._wanted[name])))
        return "; ".join(notes)

    async def _drain(self, name: str) -> str:
        # a replaced replica keeps its name and may change its port: the one in the state is the one that runs
        running = [replica for replica in self.state.replicas if replica.name == name]
        return await self._backend.drain(running[0]) if running else "does not run"

    async def _stop(self, name: str) -> str:
        self._without(name)
        await self._backend.stop(name)
        return ""

    async def _sleep(self, number: int, action: Sleep) -> str:
        await self._backend.sleep(self._named(number, action.replica), action.level)
        others = [item for item in self.state.asleep if item.name != action.replica]
        asleep = [*others, Asleep(name=action.replica, level=action.level)]
        self._keep(asleep=tuple(sorted(asleep, key=lambda item: item.name)))
        return f"level {action.level}"

    async def _wake(self, number: int, name: str) -> str:
        replica = self._named(number, name)
        if name not in self._living():
            return "; ".join(filter(None, ("did not run any more and is started", await self._start(number, name))))
        await self._backend.wake(replica)
        self._keep(asleep=tuple(item for item in self.state.asleep if item.name != name))
        return ""

    def _named(self, number: int, name: str) -> Replica:
        """The replica of that name in the state."""
        for replica in self.state.replicas:
            if replica.name == name:
                return replica
        raise ExecutorError(f"actions.{number}: {name} is not in the state; plan again")

    async def _repartition(self, action: Repartition) -> str:
        await self._backend.repartition(action)
        desired = {(gpu.node, gpu.index): gpu for gpu in self._plan.desired.gpus}
        gpus: dict[tuple[str, int], GpuPlan] = {(gpu.node, gpu.index): gpu for gpu in self.state.gpus}
        gpus[action.node, action.gpu] = desired[action.node, action.gpu]
        self._keep(gpus=tuple(gpus[place] for place in sorted(gpus)))
        return ""

    async def _set_routes(self, action: SetRoutes) -> str:
        note = await self._router.set_routes(self._plan.desired.router, action.routes, self.state.routes)
        self._keep(routes=action.routes, router=self._plan.desired.router)
        return f"{len(action.routes)} routes{f'; {note}' if note else ''}"

    async def _try_newcomers(self, action: SetRoutes) -> None:
        """Watch changed replicas under a part of the requests; the state keeps the old routes, to which a crash so leads back."""
        rollout = self._plan.desired.rules.rollout
        newcomers = [replica for replica in self._canary.newcomers(action.routes) if replica.name not in self._tried]
        if not (rollout.window_s and newcomers):
            return
        names = {replica.name for replica in newcomers}
        tried = canary_routes(self.state.routes, action.routes, names, rollout.canary_fraction)
        await finish(self._router.set_routes(self._plan.desired.router, tried, self.state.routes))
        self.note(", ".join(sorted(names)), f"watched for {rollout.window_s:g} s with a part of the requests")
        others = [replica for replica in self.state.replicas if replica.name not in names]
        watching = self._canary.watch(newcomers, others, rollout.window_s)
        await self._mending.during(watching, self._touched | names, set(), tried)
        self._tried |= names

    def _without(self, name: str) -> None:
        self._keep(
            replicas=tuple(replica for replica in self.state.replicas if replica.name != name),
            asleep=tuple(item for item in self.state.asleep if item.name != name),
        )

    def _keep(self, **changes: object) -> None:
        """Change the state and write it; its serial counts applies that changed something, not writes."""
        self._become(self.state.model_copy(update=changes))

    def _become(self, changed: State) -> None:
        if changed != self.state:
            self.state = changed.model_copy(update={"serial": max(self.state.serial, self._serial)})
            self._folder.save(self.state)


def _sorted(replicas: Sequence[Replica]) -> tuple[Replica, ...]:
    return tuple(sorted(replicas, key=lambda replica: replica.name))
