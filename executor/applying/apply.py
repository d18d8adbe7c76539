"""Apply a plan: lock, refuse what is stale, do its actions with a journal, and go on where an interrupted apply stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from executor.applying.engine_kept import keep_engine
from executor.applying.rollback import is_to_blame, plan_before, roll_back, unwatched
from executor.applying.steps import StartingPoint, Steps
from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.protocol import Backend
from executor.errors import BudgetError, ExecutorError, InterruptedApplyError, RolledBackError, StateError
from executor.events import Event, OnEvent, ignore
from executor.state.applied_plans import keep
from executor.state.folder import StateFolder
from executor.state.goal import set_goal
from executor.state.in_force import forget_moves
from executor.state.journal import Journal, Unfinished, utc_today
from executor.state.lock import locked
from executor.state.prior import check_prior
from planner.plan import Plan, State, plan_hash
from planner.transitions.disruptions import allowed_now


def apply(
    plan: Plan,
    state_dir: Path,
    open_backend: OpenBackend = emulated_backend,
    on_event: OnEvent = ignore,
    fleet_folder: Path = Path(),
    engine: str | None = None,
    *,
    ignore_budget: bool = False,
) -> State:
    """Make reality equal to the plan on this machine and return the new state (its serial grows when anything changed).

    open_backend makes what runs the engines; local paths of the plan start from fleet_folder. engine is its name, which the state
    folder keeps: replicas of another kind are refused as long as any runs. None keeps nothing. A plan that would stop replicas which its
    disruption budget protects now is refused, unless ignore_budget says that somebody has decided otherwise.
    Raises ExecutorError: LockedError, StalePlanError, StartError (what already runs stays up),
    InterruptedApplyError after Ctrl-C or SIGTERM. After any of them the same plan can be applied again and goes on.
    """
    folder = StateFolder(state_dir)
    return asyncio.run(apply_to(plan, folder, open_backend(folder, fleet_folder), on_event, engine, ignore_budget=ignore_budget))


async def apply_to(
    plan: Plan,
    folder: StateFolder,
    backend: Backend,
    on_event: OnEvent = ignore,
    engine: str | None = None,
    *,
    ignore_budget: bool = False,
    today: Callable[[], datetime] = utc_today,
) -> State:
    """As `apply`, inside a running event loop and on any backend."""
    folder.create()
    with locked(folder.lock_path, "apply"), _interruptible():
        journal = Journal(folder.journal_path)
        start = StartingPoint(folder.load(), plan.prior.serial + 1)
        previous = plan_before(folder, plan, journal.reached()) if plan.desired.rules.rollout.window_s else None
        # where there is no way back, watching would tell nothing that anybody could act on
        steps = Steps(plan if previous is not None else unwatched(plan), folder, backend, journal, on_event, start)
        if journal.torn:
            steps.note("journal", "its last line was cut off by a crash and is dropped")
        done = _done_before(plan, journal, steps, folder)
        if not ignore_budget:
            left = tuple(action for number, action in enumerate(plan.actions) if number not in done)
            refuse_disruptions(plan.model_copy(update={"actions": left}), steps.state, backend, today())
        if engine is not None:
            keep_engine(folder, engine, backend)
        backend.preflight(plan, steps.state)
        backend.router.preflight(plan, steps.state)
        set_goal(folder, plan)
        forget_moves(folder)
        journal.begin(plan_hash(plan), steps.state.serial)
        try:
            await _run(steps, done, backend)
        except asyncio.CancelledError:
            journal.end(ok=False, detail="interrupted")
            raise InterruptedApplyError("interrupted; what was done is kept: apply the same plan again to go on, or plan again") from None
        except ExecutorError as error:
            journal.end(ok=False, detail=str(error))
            if previous is not None and is_to_blame(error, plan, previous):
                await _take_back(previous, error, folder, backend, on_event)
            raise
        keep(folder, plan, steps.state.serial)
        journal.end(ok=True)
        return steps.state


async def _take_back(previous: Plan, error: ExecutorError, folder: StateFolder, backend: Backend, on_event: OnEvent) -> None:
    """Raises RolledBackError once what ran before runs again."""
    on_event(Event("note", 0, 0, "note", "rollback", f"{str(error).partition(chr(10))[0]}; goes back to the plan before"))
    try:
        state = await roll_back(previous, folder, backend, on_event)
    except asyncio.CancelledError:
        raise InterruptedApplyError(
            f"{error}\ninterrupted on the way back; what was done is kept: plan again, or let `ullage reconcile` go on with it"
        ) from None
    raise RolledBackError(f"{error}\nthe change was taken back: what ran before runs again, as state {state.serial}") from error


async def _run(steps: Steps, done: frozenset[int], backend: Backend) -> None:
    """Do the steps; in any case bound the logs, which nobody else does while no apply works."""
    try:
        await steps.run(done)
    finally:
        for trouble in backend.tidy():
            # a disk so full that not even this can be noted is told by the end of the journal
            with suppress(StateError):
                steps.note("logs", trouble)


def refuse_disruptions(plan: Plan, state: State, backend: Backend, today: datetime) -> None:
    """Raises BudgetError when the actions would stop replicas that serve and that the plan's disruption budget protects now."""
    observed = backend.observe()
    dead = {replica.name for replica in state.replicas if not (replica.name in observed and observed[replica.name].alive)}
    reasons = allowed_now(plan, state, dead, 0, today).reasons
    if reasons:
        raise BudgetError(
            "policy.disruption_budget does not allow this plan now, and nothing was done:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
            + "\napply it when it is allowed, or give --ignore-budget if somebody has decided that it must be now"
        )


def done_before(plan: Plan, state_dir: Path) -> frozenset[int]:
    """As apply would begin now, without changing anything: the numbers of the plan's actions that an earlier apply of it completed.

    Raises StalePlanError, StateError and JournalError as apply does.
    """
    folder = StateFolder(state_dir)
    resumed = _resumed(plan, Journal(folder.journal_path), folder.load(), folder)
    return frozenset() if resumed is None else resumed.done


def _resumed(plan: Plan, journal: Journal, state: State, folder: StateFolder) -> Unfinished | None:
    """The earlier, unfinished apply of this very plan; any other plan must match the state."""
    unfinished = journal.unfinished()
    if unfinished is not None and unfinished.plan == plan_hash(plan):
        return unfinished
    check_prior(plan, state, folder)
    return None


def _done_before(plan: Plan, journal: Journal, steps: Steps, folder: StateFolder) -> frozenset[int]:
    resumed = _resumed(plan, journal, steps.state, folder)
    if resumed is None:
        return frozenset()
    steps.note("apply", f"goes on with this plan: {len(resumed.done)} of {len(plan.actions)} actions are done")
    return resumed.done


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM cancel the current step; outside the main thread the caller's own handling stays."""
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    caught: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, current.cancel)
            caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
