"""Destroy: end everything that was started from a state folder, and prove that nothing is left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.protocol import Backend
from executor.events import OnEvent, ignore
from executor.processes.ending import end_processes
from executor.router.envoy import NAME
from executor.state.folder import StateFolder
from executor.state.journal import Journal
from executor.state.lock import locked
from planner.plan import State


@dataclass(frozen=True, slots=True)
class DestroyReport:
    """What was there and what is left. over_commits: times that a GPU was asked for more memory than it has; None where nobody counts."""

    stopped: tuple[str, ...]
    leftovers: tuple[str, ...]
    over_commits: int | None


def destroy(state_dir: Path, on_event: OnEvent = ignore, open_backend: OpenBackend | None = emulated_backend) -> DestroyReport:
    """Stop the router and every recorded process group, and clear the state; journal, logs and history stay.

    open_backend is what the state was made with, None where nobody can tell: processes are stopped all the same.
    Can be repeated; a folder that does not exist has nothing to destroy. Raises LockedError while an apply works, StateError
    (with everything stopped) for a damaged state or journal; leftovers are in the report.
    """
    folder = StateFolder(state_dir)
    if not folder.root.exists():
        return DestroyReport((), (), None)
    with locked(folder.lock_path, "destroy"):
        return asyncio.run(_destroy(folder, None if open_backend is None else open_backend(folder, Path()), on_event))


async def _destroy(folder: StateFolder, backend: Backend | None, on_event: OnEvent) -> DestroyReport:
    # first, so that a loop does not start again what an interrupted destroy has stopped
    for remembered in (folder.goal_path, folder.reconcile_path, folder.refused_path):
        # what stands there instead of a file must not keep anything running
        with suppress(OSError):
            remembered.unlink(missing_ok=True)
    over_commits = None if backend is None else backend.over_commits()
    # clients get a refused connection instead of errors of engines that are going: the router ends first
    stopped, leftovers = await (end_processes(folder, NAME, on_event) if backend is None else backend.end_all(on_event))
    # read only now: a damaged state must not keep anything running
    state, journal = folder.load(), Journal(folder.journal_path)
    if state != State(serial=state.serial):
        folder.save(State(serial=state.serial + 1))
    if journal.records:
        journal.destroyed()
    return DestroyReport(stopped, leftovers, over_commits)
