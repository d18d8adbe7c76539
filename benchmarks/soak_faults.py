"""The faults of the soak: what breaks, and how one sees that it is mended."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

from benchmarks.soak_fleet import QUIET
from benchmarks.soak_loop import WatchedLoop
from executor.backends.engine_kinds import emulated_backend
from executor.backends.local import PREFIX
from executor.errors import ExecutorError
from executor.file_names import file_name
from executor.processes import table as processes
from executor.state.folder import StateFolder
from planner.plan import Plan, Replica, to_json
from profiles.regular_files import write_atomic

Mended = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Fault:
    """One of them; ended_s is None while it is not mended."""

    kind: str
    subject: str
    began_s: float
    mended: Mended
    ended_s: float | None = None

    @property
    def repair_s(self) -> float | None:
        """How long it lasted."""
        return None if self.ended_s is None else self.ended_s - self.began_s


class SoakWorld:
    """A state folder that a loop keeps equal to a plan file, and whoever breaks things in it."""

    def __init__(self, work: Path, plans: tuple[Plan, ...], draw: Random) -> None:
        """Nothing runs yet; the goal is the first plan."""
        self.folder = StateFolder(work / "state")
        self.backend = emulated_backend(self.folder, work)
        self.plan_path = work / "plan.json"
        self.loop = WatchedLoop(self.plan_path, self.folder.root, work / "loop.log")
        self.faults: list[Fault] = []
        self._plans = plans
        self._draw = draw
        self._hits: Counter[str] = Counter()
        self._table = processes.ProcessTable(self.folder.processes, self.folder.logs)
        self.goal = plans[0]
        write_atomic(self.plan_path, to_json(self.goal))

    @property
    def open(self) -> list[Fault]:
        """Faults that are not mended yet."""
        return [fault for fault in self.faults if fault.ended_s is None]

    async def look(self) -> None:
        """Note what is mended by now."""
        for fault in self.open:
            with suppress(ExecutorError, OSError):
                if await fault.mended():
                    fault.ended_s = monotonic()

    async def all_as_planned(self) -> bool:
        """State, processes, answers and routes are those of the goal, and nothing else runs."""
        state, desired = self.folder.load(), self.goal.desired
        if (state.replicas, state.routes) != (desired.replicas, desired.routes):
            return False
        observed = self.backend.observe()
        if set(observed) != {replica.name for replica in desired.replicas}:
            return False
        return await self._routed() and all([await self._answers(replica) for replica in desired.replicas])

    def break_one(self, kinds: dict[str, float]) -> None:
        """One fault of a kind drawn by these weights; none where there is nothing to break that way."""
        [kind] = self._draw.choices(list(kinds), weights=list(kinds.values()))
        made = getattr(self, f"_{kind}")()
        if made is not None:
            self.faults.append(made)

    def _kill(self) -> Fault | None:
        return self._signal("kill", signal.SIGKILL)

    def _hang(self) -> Fault | None:
        return self._signal("hang", signal.SIGSTOP)

    def _signal(self, kind: str, number: signal.Signals) -> Fault | None:
        replica = self._victim()
        record = None if replica is None else self._table.record(PREFIX + replica.name)
        if replica is None or record is None or not processes.alive(record):
            return None
        again = "" if not self._hits[replica.name] else "_again"
        self._hits[replica.name] += 1
        began_s = monotonic()
        os.kill(record.pid, number)

        async def mended() -> bool:
            wanted = next((item for item in self.goal.desired.replicas if item.name == replica.name), None)
            now = self._table.record(PREFIX + replica.name)
            if wanted is None:
                return now is None
            return now is not None and now.pid != record.pid and processes.alive(now) and await self._answers(wanted)

        return Fault(f"{kind}{again}", replica.name, began_s, mended)

    def _router(self) -> Fault | None:
        record = self._table.record("router")
        if record is None or not processes.alive(record):
            return None
        began_s = monotonic()
        os.kill(record.pid, signal.SIGKILL)

        async def mended() -> bool:
            now = self._table.record("router")
            return now is not None and now.pid != record.pid and await self._routed()

        return Fault("router", "router", began_s, mended)

    def _edit(self) -> Fault | None:
        path = self._route_file()
        if path is None:
            return None
        text = path.read_text(encoding="utf-8")
        edited = text.replace("load_balancing_weight: ", "load_balancing_weight: 1")
        write_atomic(path, edited)

        async def mended() -> bool:
            there = path.read_text(encoding="utf-8") if path.exists() else ""
            return there != edited and await self._routed()

        return Fault("edit", path.name, monotonic(), mended)

    def _remove(self) -> Fault | None:
        path = self._route_file()
        if path is None:
            return None
        path.unlink()

        async def mended() -> bool:
            routed = {f"{file_name(route.served_name)}.yaml" for route in self.folder.load().routes}
            return path.exists() or path.name not in routed

        return Fault("remove", path.name, monotonic(), mended)

    def _loop(self) -> Fault | None:
        began_s = monotonic()
        self.loop.kill_and_start()

        async def mended() -> bool:
            return self.loop.works()

        return Fault("loop", "loop", began_s, mended)

    def _fleet(self) -> Fault | None:
        self.goal = self._draw.choice([plan for plan in self._plans if plan is not self.goal])
        goal = self.goal
        write_atomic(self.plan_path, to_json(goal))

        async def mended() -> bool:
            # another edit in the meantime leaves nothing of this one
            return goal is not self.goal or self.folder.load().replicas == goal.desired.replicas

        return Fault("fleet", "plan.json", monotonic(), mended)

    def _victim(self) -> Replica | None:
        """One that runs, is not broken, and was broken least often: repeated deaths are started later and later."""
        broken = {fault.subject for fault in self.open}
        found = [item for item in self.folder.load().replicas if item.served_name not in QUIET and item.name not in broken]
        self._draw.shuffle(found)
        return min(found, key=lambda item: self._hits[item.name], default=None)

    def _route_file(self) -> Path | None:
        found = [path for path in sorted((self.folder.router / "eds").glob("*.yaml")) if path.stem not in QUIET]
        broken = {fault.subject for fault in self.open}
        left = [path for path in found if path.name not in broken]
        return self._draw.choice(left) if left else None

    async def _routed(self) -> bool:
        state = self.folder.load()
        return state.router is not None and await self.backend.router.difference(state.router, state.routes) is None

    async def _answers(self, replica: Replica) -> bool:
        return replica.served_name in ((await self.backend.ask(replica)).names or ())
