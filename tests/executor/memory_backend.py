"""Replicas that are only remembered: a backend without processes, for what does not depend on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from executor.backends.protocol import Answer, Capabilities, EngineLoad, Latencies, Observed, ObservedGpu, Say
from executor.errors import ProcessError, StartError
from executor.events import OnEvent
from planner.plan import Plan, Repartition, Replica, Route, RouterPlan, SleepLevel, State
from profiles.sources.failure_causes import CAUSE_BY_NAME


@dataclass
class Engine:
    """One engine that plays along until a test breaks it."""

    pid: int
    command: str
    names: tuple[str, ...]
    alive: bool = True
    silent: bool = False
    load: EngineLoad = field(default_factory=lambda: EngineLoad(0, 0, 0.0, 0, 0, steps=0))


class MemoryRouter:
    """Implements executor.backends.protocol.Router."""

    def __init__(self) -> None:
        self.settings: RouterPlan | None = None
        self.routes: tuple[Route, ...] = ()
        self.switches: list[tuple[Route, ...]] = []

    def preflight(self, plan: Plan, state: State) -> None:
        pass

    def pid(self) -> int | None:
        return None if self.settings is None else 1

    async def difference(self, settings: RouterPlan, routes: tuple[Route, ...]) -> str | None:
        if self.settings is None:
            return "does not run"
        if self.settings != settings:
            return "it runs with other settings"
        return None if self.routes == routes else "its routes are others"

    async def ensure(self, settings: RouterPlan, routes: tuple[Route, ...]) -> None:
        self.settings, self.routes = settings, routes

    async def set_routes(self, settings: RouterPlan, routes: tuple[Route, ...], before: tuple[Route, ...]) -> str:
        del before
        self.switches.append(routes)
        self.settings, self.routes = settings, routes
        return ""


class MemoryBackend:
    """Implements executor.backends.protocol.Backend."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(mig_layouts=True, reads_gpus=False)
        self.seen_gpus: tuple[ObservedGpu, ...] = ()
        self.router = MemoryRouter()
        self.engines: dict[str, Engine] = {}
        # what goes wrong at a start of this replica: the cause, or nothing
        self.fails: Callable[[str], str | None] = lambda _: None
        self.done: list[str] = []
        # an engine's histograms, by the number of the reading
        self.histogram: Callable[[Replica, int], Latencies] = lambda *_: Latencies((), ())
        self.looks = 0
        self._pids = itertools.count(1)

    def preflight(self, plan: Plan, state: State) -> None:
        pass

    def observe(self) -> dict[str, Observed]:
        return {
            name: Observed(name, engine.pid, engine.alive, (engine.pid,) if engine.alive else (), engine.command)
            for name, engine in self.engines.items()
        }

    async def ask(self, replica: Replica) -> Answer:
        engine = self.engines.get(replica.name)
        if engine is None or not engine.alive or engine.silent:
            return Answer(None, denied=False, load=None)
        return Answer(engine.names, denied=False, load=engine.load)

    async def latencies(self, replica: Replica) -> Latencies | None:
        self.looks += 1
        return self.histogram(replica, self.looks)

    async def try_out(self, replica: Replica, limit_s: float) -> str | None:
        engine = self.engines.get(replica.name)
        if engine is None or not engine.alive or engine.silent:
            return f"no answer within {limit_s:.0f} s"
        if engine.load.asleep:
            return f"no answer within {limit_s:.0f} s: it sleeps"
        engine.load = replace(engine.load, generated_tokens=engine.load.generated_tokens + 1)
        return None

    def gpus(self) -> tuple[ObservedGpu, ...]:
        return self.seen_gpus

    def over_commits(self) -> int | None:
        return None

    def wanted_hash(self, replica: Replica) -> str:
        return replica.args.model_dump_json()

    async def start(self, replica: Replica, say: Say) -> None:
        running = self.engines.get(replica.name)
        if running is not None and running.alive:
            if running.command != self.wanted_hash(replica):
                raise ProcessError(f"{replica.name} runs with another command")
            say("runs already")
            return
        self.done.append(f"start {replica.name}")
        self.engines.pop(replica.name, None)
        cause = self.fails(replica.name)
        if cause is not None:
            raise StartError(replica.name, CAUSE_BY_NAME[cause], "does not start")
        self.engines[replica.name] = Engine(next(self._pids), self.wanted_hash(replica), (replica.served_name,))

    async def drain(self, replica: Replica) -> str:
        self.done.append(f"drain {replica.name}")
        return ""

    async def stop(self, name: str) -> None:
        self.done.append(f"stop {name}")
        self.engines.pop(name, None)

    async def sleep(self, replica: Replica, level: SleepLevel) -> None:
        engine = self._living(replica)
        self.done.append(f"sleep {replica.name}")
        engine.load = replace(engine.load, asleep=level)

    async def wake(self, replica: Replica) -> None:
        engine = self._living(replica)
        self.done.append(f"wake {replica.name}")
        engine.load = replace(engine.load, asleep=0)

    def _living(self, replica: Replica) -> Engine:
        engine = self.engines.get(replica.name)
        if engine is None or not engine.alive:
            raise ProcessError(f"replica {replica.name}: does not run")
        return engine

    def tidy(self) -> tuple[str, ...]:
        return ()

    async def end_all(self, on_event: OnEvent) -> tuple[tuple[str, ...], tuple[str, ...]]:
        del on_event
        stopped = tuple(sorted(name for name, engine in self.engines.items() if engine.alive))
        self.engines.clear()
        self.router.settings, self.router.routes = None, ()
        return stopped, ()

    async def repartition(self, action: Repartition) -> None:
        self.done.append(f"repartition {action.gpu}")
        self.seen_gpus = tuple(
            dataclasses.replace(gpu, mig_layout=action.layout) if (gpu.node, gpu.index) == (action.node, action.gpu) else gpu
            for gpu in self.seen_gpus
        )
