"""One scenario after another in one process: each is planned warm from the one before."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from planner.plan import Plan, State
from ullage.fleet_spec import FleetSpec
from ullage.planning.ask import DEFAULT_ENGINE
from ullage.planning.plan import plan_fleet
from ullage.planning.warm import Warmth
from ullage.study.rows import StudyRow, problem_row, row_of
from ullage.study.scenarios import Scenario
from ullage.study.state_without import state_without


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How each scenario is planned: see ullage.planning.plan.plan_fleet. time_limit_s is for each engine and scenario."""

    solver: str = DEFAULT_ENGINE
    time_limit_s: float | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that is none."""
        limit_s = self.time_limit_s
        if limit_s is not None and (not hasattr(limit_s, "__float__") or not 0 <= limit_s < math.inf):
            raise ValueError(f"the time limit is {limit_s!r}; give seconds, 0 or more, or none at all")


QUICKLY = StudyOptions()


@dataclass(slots=True)
class ScenarioSolver:
    """Plans scenarios of one fleet against one state. What cannot be planned becomes a row that says why."""

    spec: FleetSpec
    state: State
    options: StudyOptions
    _warm: Warmth = field(default_factory=Warmth)

    def row(self, scenario: Scenario) -> StudyRow:
        """The figures of a scenario; ValueErrors, which name what is wrong with the user's fleet, are kept as its problem."""
        try:
            return row_of(scenario, self.plan(scenario))
        except ValueError as error:
            return problem_row(scenario, str(error))

    def _state(self, scenario: Scenario) -> State:
        """What runs, without what was lost with rented nodes; nodes of owned pools keep their numbers, and nothing there can stay."""
        state = self.state
        lost: defaultdict[str, list[int]] = defaultdict(list)
        for node in scenario.lost_nodes:
            pool, _, number = node.rpartition("-")
            # nothing runs in a pool that the scenario itself brings
            if pool in self.spec.names("pools") and self.spec.get(f"pools.{pool}.ownership") == "rentable":
                lost[pool].append(int(number))
        for pool, indexes in lost.items():
            state = state_without(state, pool, indexes)
        return state

    def plan(self, scenario: Scenario) -> Plan:
        """The plan of a scenario."""
        options = self.options
        fleet = scenario.applied(self.spec).resolved()
        return plan_fleet(
            fleet, self._state(scenario), solver=options.solver, time_limit_s=options.time_limit_s, verify=options.verify, warm=self._warm
        ).plan
