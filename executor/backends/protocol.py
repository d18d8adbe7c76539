"""What apply needs from a place where replicas run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from planner.plan import Plan, Repartition, Replica, State

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Observed:
    """A recorded replica as it is now: alive is its leader; pids are the whole group's living processes."""

    name: str
    pid: int
    alive: bool
    pids: tuple[int, ...]
    command_hash: str


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
    """

    node: str
    index: int
    holders: tuple[GpuHolder, ...]
    busy_s: float | None


class Backend(Protocol):
    """Starts and stops replicas; every method can be repeated after a crash and then converges."""

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

    async def repartition(self, action: Repartition) -> None:
        """Give a GPU another MIG layout. Raises ExecutorError."""
