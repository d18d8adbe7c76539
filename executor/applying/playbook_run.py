"""Executes steps of a plan's playbook under the lock, with the journal: refusals by the router alone, the rest as apply does it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from executor.applying.rollback import unwatched
from executor.applying.steps import StartingPoint, Steps
from executor.backends.engine_kinds import OpenBackend, emulated_backend
from executor.backends.protocol import Backend
from executor.errors import ExecutorError, StateError
from executor.events import Event, OnEvent, ignore
from executor.state.folder import StateFolder
from executor.state.goal import goal_of
from executor.state.in_force import moves_in_force
from executor.state.journal import Journal
from executor.state.lock import locked
from executor.state.refused import move_words, refused_now, set_refused
from planner.check import transition_problems
from planner.plan import BurstStep, Plan, State, desired_hash, plan_hash, state_of
from planner.playbook.burst_moves import BurstMoves, moved, moves_of
from planner.playbook.refusals import BurstClaim, Refusals, claimed, refusals
from planner.schedule.sleeping import without_absent
from planner.transitions.change import change
from profiles.catalogue import builtin


def run_steps(
    state_dir: Path,
    steps: Sequence[BurstStep],
    open_backend: OpenBackend = emulated_backend,
    plan: Plan | None = None,
    on_event: OnEvent = ignore,
    burst: str = "",
) -> Refusals:
    """Do these steps too, until they are undone; returns what is in force then.

    burst ("chat x2") is what they are for: what several ask for ends with the last of them; steps for none are kept without a name. plan
    is the one that says so: it must be the one that is kept. Can be repeated, and goes on where it was cut off. Raises ExecutorError:
    LockedError while an apply works, StateError where no plan is applied, another one is, or a step cannot be done now.
    """
    folder = StateFolder(state_dir)
    return asyncio.run(change_refused(folder, open_backend(folder, Path()), more=steps, plan=plan, on_event=on_event, burst=burst))


def undo_steps(
    state_dir: Path,
    steps: Sequence[BurstStep],
    open_backend: OpenBackend = emulated_backend,
    on_event: OnEvent = ignore,
    burst: str = "",
    *,
    whole: bool = False,
) -> Refusals:
    """The way back of `run_steps`, with the same errors, whichever plan is kept; whole: of all that was done for that burst."""
    folder = StateFolder(state_dir)
    return asyncio.run(change_refused(folder, open_backend(folder, Path()), fewer=steps, on_event=on_event, burst=burst, whole=whole))


async def change_refused(
    folder: StateFolder,
    backend: Backend,
    *,
    more: Sequence[BurstStep] = (),
    fewer: Sequence[BurstStep] = (),
    plan: Plan | None = None,
    on_event: OnEvent = ignore,
    burst: str = "",
    whole: bool = False,
) -> Refusals:
    """As `run_steps` and `undo_steps`, inside a running event loop and on any backend."""
    nothing = StateError(f"{folder.root}: no plan is applied from this state folder, so nobody can be refused; apply one first")
    if not folder.root.exists():
        # a wrong name of a folder must not make one
        raise nothing
    with locked(folder.lock_path, "playbook"):
        state, goal = folder.load(), goal_of(folder)
        if state.router is None or goal is None:
            raise nothing
        if plan is not None and goal.desired not in (plan.desired, without_absent(plan.desired, state)):
            raise StateError(f"{folder.root}: another plan than this one is kept; give the plan that was applied last")
        before = refused_now(folder)
        known = {workload.name for workload in goal.desired.workloads}
        unknown = _refused_by(more) - known
        if unknown:
            raise StateError(f"{', '.join(sorted(unknown))}: no workload of the plan that is kept")
        # those of an earlier plan that this one does not have any more are forgotten
        claims, ended = _claims(before, burst, more, fewer, whole=whole)
        workloads = ({*before.workloads} & known | _refused_by(more)) - {*ended.workloads}
        moves = _together(moves_in_force(before, goal), moves_of(more)).without({*ended.replicas})
        work = _Work(folder, backend, goal, claims, on_event)
        if not (moves_of(more).names or ended.replicas):
            return await work.refuse(workloads, moves, state)
        _refuse_impossible(goal, state, workloads, moves)
        # who comes back is let in only once it is there
        await work.refuse({*before.workloads} & known if fewer else workloads, moves, state)
        await work.move(moves)
        return await work.refuse(workloads, moves, folder.load()) if fewer else refused_now(folder)


class _Work:
    """What is done for one goal."""

    def __init__(self, folder: StateFolder, backend: Backend, goal: Plan, claims: dict[str, BurstClaim], on_event: OnEvent) -> None:
        self._folder = folder
        self._backend = backend
        self._goal = goal
        self._claims = claims
        self._on_event = on_event
        self._journal = Journal(folder.journal_path)

    async def refuse(self, workloads: Set[str], moves: BurstMoves, state: State) -> Refusals:
        """Note what is in force from now on, and let the router refuse."""
        after = refusals(self._goal.desired, workloads).model_copy(update={"bursts": self._claims})
        if moves.names:
            after = after.model_copy(update={"moves": moves, "desired_sha256": desired_hash(self._goal.desired)})
        detail = f"refuses {', '.join(after.workloads)}" if after.workloads else "refuses nobody"
        self._note("; ".join((detail, *move_words(moves))))
        # kept first: whoever looks after the router and the replicas goes on with it after a crash
        set_refused(self._folder, after)
        assert state.router is not None
        await self._backend.router.ensure(state.router, state.routes)
        return after

    async def move(self, moves: BurstMoves) -> None:
        """Let sleep, stop, start and wake whom it takes: out of the routes, drained, and only then into them."""
        state = self._folder.load()
        desired = moved(self._goal.desired, moves)
        if state == state_of(desired, state.serial):
            return
        way = unwatched(change(state, desired))
        steps = Steps(way, self._folder, self._backend, self._journal, self._on_event, StartingPoint(state, state.serial))
        self._journal.begin(plan_hash(way), state.serial, goal=plan_hash(self._goal))
        try:
            await steps.run(frozenset())
        except asyncio.CancelledError:
            self._journal.end(ok=False, detail="interrupted")
            raise
        except ExecutorError as error:
            self._journal.end(ok=False, detail=str(error))
            raise
        self._journal.end(ok=True)

    def _note(self, detail: str) -> None:
        self._journal.note("playbook", detail)
        self._on_event(Event("note", 0, 0, "note", "playbook", detail))


def _claims(
    before: Refusals, burst: str, more: Sequence[BurstStep], fewer: Sequence[BurstStep], *, whole: bool
) -> tuple[dict[str, BurstClaim], BurstClaim]:
    """What each burst asks for from now on, and what nobody asks for any more."""
    own, back = before.bursts.get(burst, BurstClaim()), claimed(fewer)
    back = back.plus(own) if whole else back
    claims = {**before.bursts, burst: own.plus(claimed(more)).minus(back)}
    claims = {name: claim for name, claim in sorted(claims.items()) if name and claim != BurstClaim()}
    ended = back
    for claim in claims.values():
        ended = ended.minus(claim)
    return claims, ended


def _refused_by(steps: Iterable[BurstStep]) -> set[str]:
    return {name for step in steps for name in step.refuses}


def _together(one: BurstMoves, other: BurstMoves) -> BurstMoves:
    """Both; who is in the first already is not named twice."""
    new = other.without(one.names)
    return BurstMoves(asleep=(*one.asleep, *new.asleep), stopped=(*one.stopped, *new.stopped), woken=(*one.woken, *new.woken))


def _refuse_impossible(goal: Plan, state: State, workloads: Set[str], moves: BurstMoves) -> None:
    """Raises StateError, before anything is done, for moves without room, or after which somebody who is not refused is not served."""
    asleep = {item.name for item in goal.desired.asleep}
    awake = {item.name for item in goal.desired.replicas} - asleep
    strange = sorted({*moves.woken} - asleep | moves.gone - awake)
    if strange:
        raise StateError(
            f"{', '.join(strange)}: the plan that is kept has no such replica, or not asleep where it is to wake, or asleep already"
        )
    then = moved(goal.desired, moves)
    found = transition_problems(change(state, then), state, builtin().gpu)
    if found:
        raise StateError("the steps cannot be done now, and nothing was done: " + "; ".join(found))
    served = {route.served_name for route in goal.desired.routes if route.backends}
    left = {route.served_name for route in then.routes if route.backends}
    lost = [item.name for item in goal.desired.workloads if item.served_name in served - left and item.name not in workloads]
    if lost:
        raise StateError(f"nobody would serve {', '.join(sorted(lost))}, which is not refused: do the steps before first")
