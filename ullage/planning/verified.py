"""Plans that their own simulation confirms, with as little margin as it takes.

Sizing is closed form and on the safe side, by how much differs from GPU to GPU. So a plan is simulated: models that fall short are sized
with more room and planned again. Where the plan holds, models are sized with less room, round by round, and what comes of it counts if the
simulation confirms it with a tenth more load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planner.plan import Attainment, Plan, WorkloadForecast
from planner.simulation.plan_input import PlannedWorld, planned_world
from planner.spec import Fleet
from planner.verification.plan_judge import PlanJudge, falls_short
from planner.verification.room_search import RoomSearch
from profiles.catalogue import builtin
from ullage.checking import FindArchitecture

# Rounds in which room is searched for. When so many were denied and none confirmed, models that crowd a GPU get what sizing asks for: of
# many GPUs there is always one with too much.
_MOST_ROUNDS, _MOST_DENIED = 8, 4

# With steps so short all demand finds a place that ever will: what such a plan does not better, no plan with less room does. Models that
# no replica serves even then are served as well as it goes.
LEAST_ROOM = 0.05

# As much less room than they have get all others meanwhile, in turn.
_LESS_FOR_OTHERS = (1.0, 0.75, 0.5)

# Goodput is compared to a millionth of a request/s.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, and how to look into what it leaves open, which takes as long again."""

    plan: Plan
    resolved: Callable[[], Plan]


# A draft with these factors on step times, by served name; a model that is not named keeps its own.
DraftWith = Callable[[Mapping[str, float]], Draft]


@dataclass(frozen=True, slots=True)
class Drafts:
    """How to make plans: at once, first come first placed; quickly, to try what comes of it; the same with all that a plan shows; and
    that with all the work for a proof.
    """

    greedy: DraftWith
    quick: DraftWith
    shown: DraftWith
    full: DraftWith


@dataclass(frozen=True, slots=True)
class _Tried:
    """A plan, the factors on step times that it was made with, and what its simulation says, by served name."""

    draft: Draft
    factors: Mapping[str, float]
    found: Mapping[str, tuple[Attainment, ...]]
    goal_fraction: float

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.draft.plan

    @property
    def lacking(self) -> tuple[str, ...]:
        """Models with demand that no replica takes."""
        return tuple(sorted({row.served_name for row in self.plan.desired.workloads if row.unserved_rps > 0}))

    @property
    def short(self) -> tuple[str, ...]:
        """Models of which the simulation denies that they keep the goal."""
        return tuple(name for name, items in self.found.items() if falls_short(items, self.goal_fraction))

    @property
    def unseen(self) -> frozenset[str]:
        """Models with less room than sizing asks for of which the simulation had no request: nothing says that they keep their goals."""
        served = {replica.served_name for replica in self.plan.desired.replicas if replica.planned_rps > 0}
        return frozenset(name for name in served - self.found.keys() if self.factors.get(name, 1.0) < 1.0)

    def rank(self) -> tuple[float, ...]:
        """Goodput that is lost against what is asked for, by priority, highest first; then demand without a replica; then cost."""
        rows = self.plan.desired.workloads
        priorities = sorted({row.priority for row in rows}, reverse=True)
        lost = [round(sum(self._lost_rps(row) for row in rows if row.priority == priority), _DIGITS) for priority in priorities]
        return (*lost, round(sum(row.unserved_rps for row in rows), _DIGITS), self.plan.desired.cost_usd_per_h)

    def _lost_rps(self, row: WorkloadForecast) -> float:
        """What a workload lacks: demand without a replica, and of the rest what is missed beyond what the goal allows."""
        unknown = 0.0 if row.served_name in self.unseen else 1.0
        kept = min((item.fraction for item in self.found.get(row.served_name, ())), default=unknown)
        return row.unserved_rps + (row.rate_rps - row.unserved_rps) * max(0.0, self.goal_fraction - kept) / self.goal_fraction


def confirmed(
    fleet: Fleet, drafts: Drafts, architecture: FindArchitecture, stopped: Callable[[], bool], interrupted: Callable[[], bool]
) -> Plan:
    """The plan that loses least goodput in its own simulation, then costs least, with what the simulation says of each workload.

    The rounds are bounded, and stopped ends them early; interrupted says that whoever waits wants no further solve.
    With policy.strict, no demand is placed for which sizing finds no room.
    """
    judge, effort = _Judge(fleet, architecture), not fleet.policy.strict
    best = _searched(drafts, judge, stopped, effort=effort)
    for others in _LESS_FOR_OTHERS if best.lacking and effort and not stopped() else ():
        factors = {name: others * best.factors.get(name, 1.0) for name in judge.names} | dict.fromkeys(best.lacking, LEAST_ROOM)
        draft = drafts.quick(factors)
        best = min(best, judge.tried(draft, factors), key=_Tried.rank) if _could_be_better(draft.plan, best) else best
    if interrupted():
        # the best so far: another solve would be cut short at once
        return _told(best, {})
    full = _seen(drafts.full, best.factors, judge)
    chosen = full if _as_good(full, best, judge) else _seen(drafts.shown, best.factors, judge)
    return _told(chosen, judge.kept_load_factors(chosen.draft))


def _seen(draft_with: DraftWith, factors: Mapping[str, float], judge: _Judge) -> _Tried:
    """A plan in which nobody has less room than sizing asks for, unless the simulation saw it."""
    tried = judge.tried(draft_with(factors), factors)
    while tried.unseen:
        factors = {**factors, **dict.fromkeys(tried.unseen, 1.0)}
        tried = judge.tried(draft_with(factors), factors)
    return tried


def _as_good(full: _Tried, best: _Tried, judge: _Judge) -> bool:
    """Whether the full answer, which may be another one that nobody has tried, is no worse than the quick one."""
    if full.plan.desired.replicas == best.plan.desired.replicas:
        return True
    less_crowded = not judge.crowded(full.draft, full.factors) or bool(judge.crowded(best.draft, best.factors))
    return full.rank() <= best.rank() and less_crowded


def _searched(drafts: Drafts, judge: _Judge, stopped: Callable[[], bool], *, effort: bool) -> _Tried:
    """The best plan of those with as much room as sizing asks for, with more where models fall short, and with less where all holds.

    With effort, less demand without a replica is worth somewhat more that is late.
    """
    search = RoomSearch(dict.fromkeys(judge.names, 1.0))
    best = judge.tried(drafts.quick({}), {})
    search = search.after(best.short)
    ideal = None if best.short or stopped() else _ideal(drafts, judge, best)
    denied, careful = 0, False
    for _ in range(_MOST_ROUNDS):
        if search.settled or stopped() or (ideal is not None and not _could_be_better(ideal, best)):
            break
        if best.short:
            # first things first: nobody gets less than sizing asks for while somebody falls short
            search = search.at_least(1.0)
        draft = drafts.quick(search.factors)
        crowded: frozenset[str] = frozenset()
        if _could_be_better(draft.plan, best):
            crowded = judge.crowded(draft, search.factors)
            if not crowded or best.short or (best.lacking and effort):
                best = min(best, judge.tried(draft, search.factors), key=_Tried.rank)
        denied += bool(crowded)
        careful = careful or (denied >= _MOST_DENIED and not best.factors)
        search = search.after(crowded, careful=careful)
    return best


def _ideal(drafts: Drafts, judge: _Judge, best: _Tried) -> Plan:
    """A plan with next to no room; where there is much to gain, first come first placed says so in no time."""
    factors = dict.fromkeys(judge.names, LEAST_ROOM)
    greedy = drafts.greedy(factors).plan
    return greedy if _could_be_better(greedy, best) else drafts.quick(factors).plan


class _Judge:
    """Simulates plans of one fleet."""

    def __init__(self, fleet: Fleet, architecture: FindArchitecture) -> None:
        self.names = sorted({workload.served_name for workload in fleet.workloads})
        self._architecture = architecture
        self._spare_load_factor = fleet.policy.risk.spare_load_factor
        self._measurements = fleet.measurements
        self._goal_fraction = fleet.policy.risk.attainment_fraction
        self._judge = PlanJudge(fleet.policy.risk, fleet.measurements)

    def tried(self, draft: Draft, factors: Mapping[str, float]) -> _Tried:
        """A plan with what the simulation says of it."""
        return _Tried(draft, factors, self._judge.attainments(draft.plan.desired, self._world(draft)), self._goal_fraction)

    def crowded(self, draft: Draft, factors: Mapping[str, float]) -> frozenset[str]:
        """Models that fall short, and those with less room than sizing asks for where somebody on the GPU has no load to spare."""
        if all(factors.get(name, 1.0) >= 1.0 for name in self.names):
            return frozenset(self.tried(draft, factors).short)
        desired, world = draft.plan.desired, self._world(draft)
        crowded = self._judge.crowded(desired, world, self._spare_load_factor)
        short = frozenset(self.tried(draft, factors).short) if any(factors.get(name, 1.0) >= 1.0 for name in crowded) else frozenset()
        # who was not seen may be too many, too
        return short | {name for name in crowded if factors.get(name, 1.0) < 1.0} or self.tried(draft, factors).unseen

    def kept_load_factors(self, draft: Draft) -> dict[str, float]:
        """Up to which multiple of its load each model keeps its goals."""
        return self._judge.kept_load_factors(draft.plan.desired, self._world(draft))

    def _world(self, draft: Draft) -> PlannedWorld:
        return planned_world(draft.plan, builtin().gpu, self._architecture, self._measurements)


def _could_be_better(plan: Plan, best: _Tried) -> bool:
    """Whether a plan serves more, or as much for less, or something falls short that it may not."""
    served, desired = best.plan.desired, plan.desired
    lacks_rps, best_rps = (round(sum(row.unserved_rps for row in item.workloads), _DIGITS) for item in (desired, served))
    return lacks_rps < best_rps or (lacks_rps == best_rps and (bool(best.short) or desired.cost_usd_per_h < served.cost_usd_per_h))


def _told(tried: _Tried, kept_load_factors: Mapping[str, float]) -> Plan:
    """The plan with what the simulation says of its workloads.

    A factor below 1 is told of models that fall short themselves: on the GPUs of such a model nobody knows when the others break. None
    is told of workloads that are not served in full: what is left of them waits with the rest.
    """
    plan = tried.draft.resolved()
    told = {name: factor for name, factor in kept_load_factors.items() if factor >= 1.0 or name in tried.short}
    rows = tuple(
        row.model_copy(
            update={
                "simulated": tried.found.get(row.served_name, ()),
                "kept_load_factor": None if row.unserved_rps > 0 else told.get(row.served_name),
                "best_effort": row.served_name in tried.short,
            }
        )
        for row in plan.desired.workloads
    )
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})
