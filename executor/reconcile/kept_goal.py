"""Which plan is kept: the one that is asked for, unless it cannot be used or was taken back; then the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from executor.applying.engine_kept import keep_engine
from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from executor.state.goal import goal_of, set_goal
from planner.plan import Plan, State, desired_hash

# The plan to keep; None when there is none (yet). Raises ExecutorError when it cannot be read.
ReadGoal = Callable[[], Plan | None]


class Goals:
    """The goal of one state folder, and what was taken back."""

    def __init__(self, folder: StateFolder, backend: Backend, engine: str | None, rejected: Mapping[str, str]) -> None:
        """Engine is the kind that a new goal is noted with (None: none); rejected are plans that were taken back, with the reason."""
        self._folder = folder
        self._backend = backend
        self._engine = engine
        self.rejected = dict(rejected)

    def reject(self, goal: Plan, why: str) -> None:
        """It is not tried again by itself, also where it is made anew against another state."""
        self.rejected[desired_hash(goal.desired)] = why

    def choose(self, read_goal: ReadGoal, failures: list[str]) -> tuple[Plan | None, tuple[str, ...]]:
        """The plan to keep in this pass, and what to tell of another one. What is wrong with the one that is asked for goes to failures.

        Raises ExecutorError where that leaves none.
        """
        try:
            goal = read_goal()
        except ExecutorError as error:
            return self._kept(str(error), failures), ()
        if goal is None:
            return None, ()
        why = self.rejected.get(desired_hash(goal.desired))
        if why is not None:
            told = f"the plan was taken back and is not tried again: {why}; change it, or run `ullage reconcile --retry`"
            return goal_of(self._folder), (told,)
        try:
            self._accept(goal)
        except ExecutorError as error:
            return self._kept(str(error), failures), ()
        return goal, ()

    def _kept(self, told: str, failures: list[str]) -> Plan:
        """The last good one."""
        try:
            kept = goal_of(self._folder)
        except ExecutorError as error:
            # often it is this very file that cannot be read
            raise ExecutorError(told if str(error) == told else f"{told}\n{error}") from error
        if kept is None:
            raise ExecutorError(told)
        failures.append(told)
        return kept

    def _accept(self, goal: Plan) -> None:
        """A new goal is looked at as apply looks at a plan, before the last good one is given up for it."""
        if self._is_kept(goal):
            return
        state = self._folder.load()
        _refuse_other_fleet(goal, state)
        if self._engine is not None:
            keep_engine(self._folder, self._engine, self._backend)
        self._backend.preflight(goal, state)
        self._backend.router.preflight(goal, state)
        set_goal(self._folder, goal)

    def _is_kept(self, goal: Plan) -> bool:
        try:
            return goal_of(self._folder) == goal
        except ExecutorError:
            # one that cannot be read gives way to one that can
            return False


def _refuse_other_fleet(goal: Plan, state: State) -> None:
    ours, theirs = {node.name for node in state.nodes}, {node.name for node in goal.desired.nodes}
    if ours and theirs and not ours & theirs:
        raise ExecutorError(
            f"the plan is of another fleet: its nodes are {', '.join(sorted(theirs))}, and those of this state folder are "
            f"{', '.join(sorted(ours))}; give another --state, or `ullage destroy` this one first"
        )
