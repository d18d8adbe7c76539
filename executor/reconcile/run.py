"""A reconciler with the clock, the random numbers and the memory of this machine."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from executor.backends.protocol import Backend
from executor.events import OnEvent, ignore
from executor.reconcile.attempts import Attempts, BackOff
from executor.reconcile.health import HealthWatch, Patience
from executor.reconcile.kept_goal import ReadGoal
from executor.reconcile.memory import PassReport, recall
from executor.reconcile.observe import LeastKvBlocks, Observer
from executor.reconcile.reconciler import Reconciler, Surroundings
from executor.state.folder import StateFolder

# A pass alone looks again so often at what may hang.
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a reconciler judges and waits; engine is the kind that the state folder is to remember, retry forgets all that failed before."""

    engine: str | None = None
    patience: Patience = field(default_factory=Patience)
    back_off: BackOff = field(default_factory=BackOff)
    retry: bool = False


def unknown_kv(replica: object, state: object) -> None:
    """For callers that do not know how many blocks of KV cache a replica must have."""
    del replica, state


def reconciler(
    folder: StateFolder,
    backend: Backend,
    settings: Settings | None = None,
    least_kv_blocks: LeastKvBlocks = unknown_kv,
    on_event: OnEvent = ignore,
) -> Reconciler:
    """Remembers what an earlier one left in the state folder. The clock is the machine's, which no change of the date moves."""
    settings = settings or Settings()
    remembered = recall(folder.reconcile_path)
    known = () if settings.retry else remembered.attempts
    return Reconciler(
        Surroundings(
            folder=folder,
            backend=backend,
            observer=Observer(backend, HealthWatch(settings.patience), least_kv_blocks, time.monotonic),
            attempts=Attempts(settings.back_off, random.SystemRandom().random, known),
            engine=settings.engine,
            clock=time.monotonic,
            on_event=on_event,
        ),
        remembered.passes,
        {} if settings.retry else remembered.rejected,
    )


async def until_sure(made: Reconciler, read_goal: ReadGoal, *, dry_run: bool = False) -> list[PassReport]:
    """Passes until nothing is left that must be looked at again."""
    reports = [await made.once(read_goal, dry_run=dry_run)]
    while made.unsure:
        await asyncio.sleep(_LOOK_AGAIN_S)
        reports.append(await made.once(read_goal, dry_run=dry_run))
    return reports
