"""What apply and reconcile need from a place where replicas run. One method per action of a plan, and readings of what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from executor.events import OnEvent
from planner.plan import GpuFacts, MigPlace, NodePlan, Plan, Repartition, Replica, Route, RouterPlan, SleepLevel, State

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Observed:
    """A recorded replica as it is now: alive is its leader, with what it cannot compute without; pids are the group's living processes."""

    name: str
    pid: int
    alive: bool
    pids: tuple[int, ...]
    command_hash: str

    @property
    def leads(self) -> bool:
        """Whether its leader runs, and with it has its port, though it may compute nothing more."""
        return self.pid in self.pids


@dataclass(frozen=True, slots=True)
class GpuHolder:
    """A process that holds memory of a GPU, and whether it computes now; active is None where that cannot be seen."""

    pid: int
    memory_mib: int
    active: bool | None


@dataclass(frozen=True, slots=True)
class ObservedGpu:
    """A GPU as it is now.

    busy_s: seconds in which its compute worked since it was there, None where that is not counted; MIG instances count by their part of it.
    mig_layout and memory_mib, all that it has, are None where they cannot be read.
    """

    node: str
    index: int
    holders: tuple[GpuHolder, ...]
    busy_s: float | None
    mig_layout: tuple[MigPlace, ...] | None = None
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """An engine's own counters: requests in it, the fraction of its KV pool in use, and what it has done since its start.

    steps counts its steps, finished_requests those that have left it, kv_blocks the blocks of its KV pool, asleep is the level at which it
    sleeps, 0 for an engine that is awake; None where its metrics do not tell.
    """

    running: int
    waiting: int
    kv_fraction: float
    generated_tokens: int
    prompt_tokens: int
    steps: int | None = None
    kv_blocks: int | None = None
    finished_requests: int | None = None
    asleep: int | None = None


# Upper bounds in seconds with the number of values up to each, the largest bound last.
Buckets = tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Latencies:
    """An engine's own histograms since its start: time to first token, and time per output token; empty where it has none."""

    ttft: Buckets
    tpot: Buckets


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica says of itself: the models that it names (None: no answer), or that it denies us, and its load (None: no metrics)."""

    names: tuple[str, ...] | None
    denied: bool
    load: EngineLoad | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do beyond starting, draining and stopping: set MIG layouts, and read its GPUs."""

    mig_layouts: bool
    reads_gpus: bool


class Router(Protocol):
    """Spreads requests over replicas; every method can be repeated after a crash and then converges."""

    def preflight(self, plan: Plan, state: State) -> None:
        """Refuse, before anything is done, what cannot be routed. Raises RouterError."""

    def pid(self) -> int | None:
        """The process that runs it here; None without one."""

    async def difference(self, settings: RouterPlan, routes: tuple[Route, ...]) -> str | None:
        """The first difference between what it does and these settings and routes; None without any."""

    async def ensure(self, settings: RouterPlan, routes: tuple[Route, ...]) -> None:
        """It runs with these settings and routes, whether their replicas live or not. Raises RouterError."""

    async def set_routes(self, settings: RouterPlan, routes: tuple[Route, ...], before: tuple[Route, ...]) -> str:
        """Switch from the routes before to these; returns a note for people. Raises RouterError."""


class Backend(Protocol):
    """Starts and stops replicas; every method can be repeated after a crash and then converges."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def router(self) -> Router:
        """What spreads requests over its replicas."""

    async def ask(self, replica: Replica) -> Answer:
        """Ask a replica, for some seconds at most, what it serves and what it does. Never raises."""

    async def latencies(self, replica: Replica) -> Latencies | None:
        """Its histograms; None when it does not answer. Never raises."""

    async def try_out(self, replica: Replica, limit_s: float) -> str | None:
        """Let a replica answer one smallest request: None when it did, else what went wrong. Never raises."""

    def preflight(self, plan: Plan, state: State) -> None:
        """Refuse, before anything is done, what this backend cannot do or what would fail. Raises ExecutorError."""

    def observe(self) -> dict[str, Observed]:
        """Recorded replicas by name, dead ones too."""

    def gpus(self) -> tuple[ObservedGpu, ...]:
        """The GPUs that this backend can read, by node and index; none where it cannot. Raises ExecutorError."""

    def over_commits(self) -> int | None:
        """Times that a GPU was asked for more memory than it has; None where that is not counted. Raises ExecutorError."""

    def wanted_hash(self, replica: Replica) -> str:
        """Hash of the command that `start` would run, to compare with Observed.command_hash."""

    async def start(self, replica: Replica, say: Say) -> None:
        """Start, or adopt what runs with the same command; returns once it is ready. Raises StartError and leaves nothing behind."""

    async def drain(self, replica: Replica) -> str:
        """Wait until it has no request, or the deadline; returns a note for people, empty when it came to rest."""

    async def stop(self, name: str) -> None:
        """End its processes and wait until its memory is free. Raises ProcessError."""

    async def sleep(self, replica: Replica, level: SleepLevel) -> None:
        """Let its requests end, give its memory back and wait until that is free. Raises ProcessError."""

    async def wake(self, replica: Replica) -> None:
        """Take its memory again; returns once it makes a token. Raises ProcessError, also where the memory is not free."""

    def tidy(self) -> tuple[str, ...]:
        """Bound what grows while replicas run, their logs for example; returns what could not be done, for people."""

    async def end_all(self, on_event: OnEvent) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Stop the router, then every replica, known to the state or not; what ran, and what is left, for people. Never raises for one."""

    async def repartition(self, action: Repartition) -> None:
        """Give a GPU another MIG layout. Raises ExecutorError."""


class Devices(Protocol):
    """The accelerators under the replicas, where this backend can see and set them."""

    def create(self, nodes: tuple[NodePlan, ...], gpu_types: tuple[GpuFacts, ...] = ()) -> None:
        """Make sure that the nodes' devices exist; gpu_types are those that the catalogue does not have."""

    def gpus(self) -> tuple[ObservedGpu, ...]:
        """Who holds memory of each, and how long it has worked. Raises ExecutorError."""

    def over_commits(self) -> int | None:
        """Times that one was asked for more memory than it has; None without any device."""

    def repartition(self, action: Repartition) -> None:
        """Set a GPU's MIG layout. Raises ExecutorError."""
