"""Plans that their own simulation confirms, with as little margin as it takes.

Sizing is closed form and on the safe side, by how much differs from GPU to GPU. So a plan is simulated: models that fall short are sized
with more room and planned again. Where the plan holds, or leaves demand unserved, all models are sized with less room, and what comes of it
counts if the simulation confirms it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planner.plan import Attainment, Plan, WorkloadForecast
from planner.simulation.plan_input import planned_world
from planner.spec import Fleet
from planner.verification.plan_judge import attainments, falls_short, keeps
from profiles.catalogue import builtin
from ullage.checking import FindArchitecture

# By how much longer the steps of a model that falls short are taken to be in each further round, and how many such rounds there are.
_SLOWER, _MOST_ROUNDS = 1.15, 3

# As how much shorter than known steps are taken, all of them, to see whether less room is enough; and those of models that no replica
# serves even then, which are served as well as it goes.
_LESS_ROOM, _BEST_EFFORT = (0.8, 0.65), 0.2

# Goodput is compared to a millionth of a request/s.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, and how to look into what it leaves open, which takes as long again."""

    plan: Plan
    resolved: Callable[[], Plan]


# A draft with these step times, by served name; a model that is not named keeps its own.
DraftWith = Callable[[Mapping[str, float]], Draft]


@dataclass(frozen=True, slots=True)
class _Tried:
    """A plan, the step times that it was made with, and what its simulation says, by served name."""

    draft: Draft
    slower: Mapping[str, float]
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
    def rank(self) -> tuple[float, ...]:
        """Goodput that is lost against what is asked for, by priority, highest first; then demand without a replica; then cost."""
        rows = self.plan.desired.workloads
        priorities = sorted({row.priority for row in rows}, reverse=True)
        lost = [round(sum(self._lost_rps(row) for row in rows if row.priority == priority), _DIGITS) for priority in priorities]
        return (*lost, round(sum(row.unserved_rps for row in rows), _DIGITS), self.plan.desired.cost_usd_per_h)

    def _lost_rps(self, row: WorkloadForecast) -> float:
        """What a workload lacks: demand without a replica, and of the rest what is missed beyond what the goal allows."""
        kept = min((item.fraction for item in self.found.get(row.served_name, ())), default=1.0)
        missed = max(0.0, self.goal_fraction - kept) / self.goal_fraction if row.served_name in self.short else 0.0
        return row.unserved_rps + (row.rate_rps - row.unserved_rps) * missed


def confirmed(fleet: Fleet, draft_with: DraftWith, architecture: FindArchitecture, stopped: Callable[[], bool]) -> Plan:
    """The plan that loses least goodput in its own simulation, then costs least, with what the simulation says of each workload.

    The rounds are bounded, and stopped ends them early. With policy.strict, no demand is placed for which sizing finds no room.
    """
    names = sorted({workload.served_name for workload in fleet.workloads})

    def judged(draft: Draft, slower: Mapping[str, float]) -> _Tried:
        world = planned_world(draft.plan, builtin().gpu, architecture, fleet.measurements)
        return _Tried(draft, dict(slower), attainments(draft.plan.desired, world), fleet.policy.sizing_quantile)

    best = _with_more_room(judged(draft_with({}), {}), lambda slower: judged(draft_with(slower), slower), stopped)
    room = dict(best.slower)
    tries = [{name: factor * room.get(name, 1.0) for name in names} for factor in _LESS_ROOM]
    while tries and not stopped():
        slower = tries.pop(0)
        draft = draft_with(slower)
        if _could_be_better(draft.plan, best):
            less = judged(draft, slower)
            if _acceptable(less, best, strict=fleet.policy.strict):
                best = min(best, less, key=lambda item: item.rank)
        if not tries and best.lacking and not fleet.policy.strict and _BEST_EFFORT not in slower.values():
            tries.append({**slower, **dict.fromkeys(best.lacking, _BEST_EFFORT)})
    return _told(best)


def _with_more_room(first: _Tried, judged: Callable[[Mapping[str, float]], _Tried], stopped: Callable[[], bool]) -> _Tried:
    """The best of plans in which models that fall short get more room, round by round."""
    best = last = first
    slower: dict[str, float] = {}
    for _ in range(_MOST_ROUNDS):
        if not last.short or stopped():
            break
        slower.update({name: slower.get(name, 1.0) * _SLOWER for name in last.short})
        last = judged(slower)
        best = min(best, last, key=lambda item: item.rank)
    return best


def _could_be_better(plan: Plan, best: _Tried) -> bool:
    """Whether a plan serves more, or as much for less, or something falls short that it may not."""
    served, desired = best.plan.desired, plan.desired
    lacks_rps, best_rps = (round(sum(row.unserved_rps for row in item.workloads), _DIGITS) for item in (desired, served))
    return lacks_rps < best_rps or (lacks_rps == best_rps and (bool(best.short) or desired.cost_usd_per_h < served.cost_usd_per_h))


def _acceptable(less: _Tried, best: _Tried, *, strict: bool) -> bool:
    """Whether a plan with less room keeps what it promises, not only perhaps; or, unless strict, serves what nobody can promise."""
    unsure = any(not keeps(items, less.goal_fraction) for items in less.found.values())
    return not unsure or (not strict and bool(best.lacking))


def _told(tried: _Tried) -> Plan:
    """The plan with what the simulation says of its workloads."""
    plan = tried.draft.resolved()
    rows = tuple(
        row.model_copy(
            update={
                "simulated": tried.found.get(row.served_name, ()),
                "best_effort": row.served_name in tried.short,
            }
        )
        for row in plan.desired.workloads
    )
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": rows})})
