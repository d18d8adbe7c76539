"""What several plans of one fleet have in common is done once: the sizes of replicas, and what engines answer to one problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.problem import Problem, Solve, Watch
from solvers.portfolio import PortfolioAnswer, solve_all
from ullage.planning.warm import Warmth


@dataclass(slots=True)
class SharedWork:
    """Kept between plans of one fleet that differ in policy.goals and policy.cost_slack_fraction alone.

    Engines minimise unserved demand and cost, and know nothing of these: every plan is the one that would be made without this.
    """

    sizes: Warmth = field(default_factory=Warmth)
    _answers: dict[tuple[Problem, tuple[str, ...]], PortfolioAnswer] = field(default_factory=dict)

    def solve_all(
        self, problem: Problem, engines: Mapping[str, Solve], *, time_limit_s: float | None = None, watch: Watch | None = None
    ) -> PortfolioAnswer:
        """As solvers.portfolio.solve_all, looked up where the same was asked before."""
        key = (problem, tuple(engines))
        if key not in self._answers:
            self._answers[key] = solve_all(problem, engines, time_limit_s=time_limit_s, watch=watch)
        return self._answers[key]
