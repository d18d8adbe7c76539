"""A plan that only moves running replicas, few of them, so that free capacity comes together: it costs no more and serves no less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from planner.assembly.assemble import NOTHING_RESOLVED, Tolerance, assemble
from planner.assembly.certificate import Asked, Outcome
from planner.choice.gathering import Gathered, GatheringSteps, as_now
from planner.plan import FRAGMENTATION, Attainment, Drain, Plan, Repartition, SetRoutes, Sleep, Start, State, Stop, Wake
from planner.problem import node_losses, shared_machines, violations
from planner.simulation.plan_input import planned_world
from planner.sizing.blueprint import Blueprint, build
from planner.spec import Fleet
from planner.verification.plan_judge import PlanJudge, falls_short
from profiles.catalogue import builtin
from solvers.placement.physical import place
from ullage.checking import checked
from ullage.planning.frontier import FrontierPoint
from ullage.planning.plan import architectures
from ullage.planning.warm import Warmth

ENGINE = "compact"

# Our choice: answers of one step that are looked into, the best first, until one keeps to the budget.
_MOST_LOOKED_INTO = 8
# digits to which what is unusable is compared
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class MoveBudget:
    """What compact may do: replicas that stop or move, and GiB of weights that are loaded (None: no limit)."""

    replicas: int = 3
    load_gib: float | None = None

    def __post_init__(self) -> None:
        """ValueError for a budget below zero."""
        if self.replicas < 0:
            raise ValueError(f"--moves {self.replicas}: give a whole number of replicas, 0 or more")
        if self.load_gib is not None and not self.load_gib >= 0:
            raise ValueError(f"--load {self.load_gib:g}: give GiB of weights, 0 or more")


@dataclass(frozen=True, slots=True)
class Compacted:
    """What runs as a plan, and the plan after the moves: the same one where no move within the budget helps."""

    before: Plan
    after: Plan

    @property
    def helps(self) -> bool:
        """Whether there is something to apply."""
        return self.after is not self.before


def unusable_gpus_of(plan: Plan) -> float:
    """Fragmentation of a plan, as its certificate says it."""
    return next(tier.value for tier in plan.desired.certificate.tiers if tier.goal == FRAGMENTATION)


def largest_free_mib(plan: Plan) -> int:
    """Most memory that is free on one GPU, KV pools counted as the plan needs them: what has grown gives way."""
    grown_mib = {(item.node, gpu): 0 for item in plan.desired.replicas for gpu in item.gpus}
    for item in plan.desired.replicas:
        for gpu in item.gpus:
            grown_mib[item.node, gpu] += item.kv_grown_mib
    return max((gpu.free_mib + grown_mib.get((gpu.node, gpu.index), 0) for gpu in plan.desired.gpus), default=0)


def compact_fleet(fleet: Fleet, state: State, budget: MoveBudget) -> Compacted:
    """The moves within the budget that scatter free capacity least, found step by step.

    ValueError where nothing runs, or what runs is not as the fleet asks.
    """
    if not state.replicas:
        raise ValueError("nothing runs, so there is nothing to compact: plan with `ullage plan`, and apply the plan")
    work = _Work(fleet, state, budget)
    problem = work.blueprint.problem
    start = as_now(problem, ENGINE)
    before = None if any(violations(problem, start.solution)) else work.plan(start)
    if before is None or any(not isinstance(action, SetRoutes) for action in before.actions):
        raise ValueError(f"{_differs(before)}; compact only moves what runs: apply a plan of `ullage plan` first")
    steps = GatheringSteps(problem, start)
    best, known = before, start
    while known.moves < budget.replicas:
        following = steps.after(known, budget.replicas - known.moves)
        found = next((each for step in islice(following, _MOST_LOOKED_INTO) if (each := work.judged(step, before, best))), None)
        if found is None:
            break
        known, best = found
    return Compacted(before, before if best is before else checked(work.told(best), "compact", state, architectures(fleet)))


def _differs(before: Plan | None) -> str:
    """How what runs differs from what the fleet asks for."""
    if before is None:
        return "what runs breaks a rule of the fleet"
    names = {action.replica for action in before.actions if isinstance(action, Start | Stop | Drain | Sleep | Wake)}
    changed = ", ".join(sorted(names)) or f"{sum(isinstance(action, Repartition) for action in before.actions)} MIG layouts"
    return f"what runs is not as this fleet asks for it ({changed})"


class _Work:
    """Plans of answers of one fleet."""

    def __init__(self, fleet: Fleet, state: State, budget: MoveBudget) -> None:
        self._fleet, self._state, self._budget = fleet, state, budget
        self.blueprint: Blueprint = build(fleet, state, find=Warmth().candidates)
        self._judge = PlanJudge(fleet.policy.risk, fleet.measurements)

    def plan(self, gathered: Gathered) -> Plan | None:
        """The plan of an answer; None where places cannot keep apart what must be, or would lose more with a node than now."""
        problem, solution = self.blueprint.problem, gathered.solution
        placed = place(problem, solution)
        losses, now = node_losses(problem, placed), node_losses(problem, problem.current)
        lost_microrps = sum(loss.missing_microrps for loss in losses)
        if shared_machines(problem, placed) or lost_microrps > sum(loss.missing_microrps for loss in now):
            return None
        outcome = Outcome(best=solution, asked=(Asked(ENGINE, solution),), baselines={})
        # what surviving costs would take another search
        return assemble(self._fleet, self.blueprint, outcome, placed, self._state, Tolerance(losses), NOTHING_RESOLVED)

    def judged(self, step: Gathered, before: Plan, best: Plan) -> tuple[Gathered, Plan] | None:
        """A step and its plan if that helps: within the budget, for no more money, with all served as now, also in its simulation."""
        plan = self.plan(step)
        if plan is None or not within(self._budget, plan) or not no_worse(plan, before):
            return None
        if _rank(plan) >= _rank(best) or not self._short(self._attainments(plan)) <= self._short(self._attainments(before)):
            return None
        return replace(step, moves=max(step.moves, moved_replicas(plan))), plan

    def told(self, plan: Plan) -> Plan:
        """The plan with what its simulation says of its workloads."""
        found = self._attainments(plan)
        short = self._short(found)
        rows = tuple(
            row.model_copy(update={"simulated": found.get(row.served_name, ()), "best_effort": row.served_name in short})
            for row in plan.desired.workloads
        )
        return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})

    def _attainments(self, plan: Plan) -> Mapping[str, tuple[Attainment, ...]]:
        """What the simulation says of each model."""
        world = planned_world(plan, builtin().gpu, architectures(self._fleet), self._fleet.measurements)
        return self._judge.attainments(plan.desired, world)

    def _short(self, found: Mapping[str, tuple[Attainment, ...]]) -> frozenset[str]:
        """Models of which the simulation denies that they keep the goal."""
        goal_fraction = self._fleet.policy.risk.attainment_fraction
        return frozenset(name for name, items in found.items() if falls_short(items, goal_fraction))


def moved_replicas(plan: Plan) -> int:
    """Running replicas that the plan stops, for good or to start elsewhere."""
    return FrontierPoint("", plan).stopped_replicas


def within(budget: MoveBudget, plan: Plan) -> bool:
    """Whether a plan keeps to the budget; what starts without another one that stops counts as a move."""
    starts = sum(isinstance(action, Start) for action in plan.actions) - len(plan.temporary)
    limit_gib = budget.load_gib
    loads_gib = FrontierPoint("", plan).loads_gib
    return max(starts, moved_replicas(plan)) <= budget.replicas and (limit_gib is None or loads_gib <= limit_gib)


def no_worse(plan: Plan, before: Plan) -> bool:
    """Whether a plan serves every workload as before, for no more money."""
    left_rps = {row.name: row.unserved_rps for row in before.desired.workloads}
    served = all(row.unserved_rps <= left_rps[row.name] + 1e-9 for row in plan.desired.workloads)
    return served and plan.desired.cost_usd_per_h <= before.desired.cost_usd_per_h + 1e-9


def _rank(plan: Plan) -> tuple[float, int]:
    """What is unusable, then GPUs in use: smaller is better."""
    return round(unusable_gpus_of(plan), _DIGITS), plan.desired.gpus_used
