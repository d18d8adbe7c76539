"""Executes steps of a plan's playbook: under the lock, with the journal, by the router alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.protocol import Backend
from executor.errors import StateError
from executor.events import Event, OnEvent, ignore
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from executor.state.journal import Journal
from executor.state.lock import locked
from executor.state.refused import refused_now, set_refused
from planner.plan import Plan
from planner.playbook.refusals import Refusals, refusals


def refuse(
    state_dir: Path,
    workloads: Iterable[str],
    open_backend: OpenBackend = emulated_backend,
    plan: Plan | None = None,
    on_event: OnEvent = ignore,
) -> Refusals:
    """Refuse the requests of these workloads too, until they are let in again; returns who is refused then.

    plan is the one that says so: it must be the one that is kept. Can be repeated. Raises ExecutorError: LockedError while an apply works,
    StateError where no plan is applied, another one is, or it has no such workload.
    """
    folder = StateFolder(state_dir)
    return asyncio.run(change_refused(folder, open_backend(folder, Path()), more=workloads, plan=plan, on_event=on_event))


def let_in(
    state_dir: Path,
    workloads: Iterable[str],
    open_backend: OpenBackend = emulated_backend,
    on_event: OnEvent = ignore,
) -> Refusals:
    """The way back of `refuse`, with the same errors, whichever plan is kept."""
    folder = StateFolder(state_dir)
    return asyncio.run(change_refused(folder, open_backend(folder, Path()), fewer=workloads, on_event=on_event))


async def change_refused(
    folder: StateFolder,
    backend: Backend,
    *,
    more: Iterable[str] = (),
    fewer: Iterable[str] = (),
    plan: Plan | None = None,
    on_event: OnEvent = ignore,
) -> Refusals:
    """As `refuse` and `let_in`, inside a running event loop and on any backend."""
    nothing = StateError(f"{folder.root}: no plan is applied from this state folder, so nobody can be refused; apply one first")
    if not folder.root.exists():
        # a wrong name of a folder must not make one
        raise nothing
    with locked(folder.lock_path, "playbook"):
        state, goal = folder.load(), goal_of(folder)
        if state.router is None or goal is None:
            raise nothing
        if plan is not None and plan.desired != goal.desired:
            raise StateError(f"{folder.root}: another plan than this one is kept; give the plan that was applied last")
        known = {workload.name for workload in goal.desired.workloads}
        unknown = set(more) - known
        if unknown:
            raise StateError(f"{', '.join(sorted(unknown))}: no workload of the plan that is kept")
        # those of an earlier plan that this one does not have any more are forgotten
        after = refusals(goal.desired, ({*refused_now(folder).workloads} & known | set(more)) - set(fewer))
        detail = f"refuses {', '.join(after.workloads)}" if after.workloads else "refuses nobody"
        Journal(folder.journal_path).note("playbook", detail)
        # kept first: whoever looks after the router goes on with it after a crash
        set_refused(folder, after)
        await backend.router.ensure(state.router, state.routes)
        on_event(Event("note", 0, 0, "note", "playbook", detail))
        return after
