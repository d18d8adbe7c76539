"""A plan for each part of the time: which parts there are, a plan for each made from the one before, and who sleeps in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter

from planner.demand.windows import CLOCK
from planner.plan import ApartWorkloads, Desired, Plan, Route, Sleep, Start, State, Stop, Wake, as_applied, desired_hash, state_of
from planner.problem import Watch
from planner.schedule.held_up import waits
from planner.schedule.horizon import Horizon, during, horizon
from planner.schedule.phases import HOUR_S, Outlay, PhaseRules, PhaseSegments, changes, hours, phases
from planner.schedule.sleeping import with_sleepers
from planner.schedule.switching import Switch, switch
from planner.schedule.timetable import PhaseTime, Schedule, SchedulePhase
from planner.schedule.waking import sleepers_of
from planner.spec import Fleet
from planner.transitions.change import change
from ullage.checking import checked
from ullage.planning.ask import DEFAULT_ENGINE, QUICK_ENGINE, SolveLimits
from ullage.planning.own_replicas import apart_where_it_pays, settled
from ullage.planning.plan import architectures, plan_fleet, with_playbook
from ullage.planning.warm import Warmth

# Our choice: shorter than that, changes would take a good part of a phase.
SHORTEST_PHASE_S = 900.0


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """How the plans of a schedule are made; shortest_s: no phase is shorter."""

    solver: str = DEFAULT_ENGINE
    time_limit_s: float | None = None
    watch: Watch | None = None
    verify: bool = True
    shortest_s: float = SHORTEST_PHASE_S


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule and its plans, by file name; the seconds go to the screen only."""

    schedule: Schedule
    plans: Mapping[str, Plan]
    single: Plan
    solve_s: float


def plan_schedule(fleet: Fleet, state: State, options: ScheduleOptions | None = None, prior: Sequence[Plan] = ()) -> Scheduled:
    """The phases of a fleet's time and their plans.

    prior are the plans of an earlier schedule of this fleet, phase by phase: each phase is planned as if its own had been applied, so that
    nothing moves that need not. Without them the first is planned against the state, and each other against the one before it. Raises
    ValueError for demand that no schedule can be made for.
    """
    started_s, options = perf_counter(), options or ScheduleOptions()
    time = horizon(fleet)
    # engines must be the same in all phases: who shares with whom is decided for all of the time
    alone = apart_where_it_pays(fleet, state, SolveLimits(options.time_limit_s, options.watch), Warmth(), _quick_plan)
    fleet = settled(alone.fleet)
    search = _Search(fleet, time, options, alone.told)
    found = phases(time, fleet.workloads, search.outlay, search.rules())
    whole = tuple(range(len(time.segments)))
    single = search.plan(whole, as_applied(prior[0]) if len(prior) == 1 else state)
    earlier = list(prior) if len(prior) == len(found) else []
    plans: list[Plan] = []
    for number, segments in enumerate(found):
        before = as_applied(earlier[number]) if earlier else as_applied(plans[-1]) if plans else state
        plan = search.plan(segments, before)
        plans.append(search.with_sleepers(plan, plans[-1], found, number) if plans else plan)
    if time.repeats and len(plans) > 1:
        plans[0] = search.with_sleepers(plans[0], plans[-1], found, 0)
    schedule = search.schedule(found, plans, single)
    if len(plans) > 1 and _is_better(single, plans, schedule.usd_per_h):
        plans = [single]
        schedule = search.schedule([whole], plans, single)
    named = {phase.plan: plan for phase, plan in zip(schedule.phases, plans, strict=True)}
    return Scheduled(schedule, named, single, perf_counter() - started_s)


def _is_better(single: Plan, plans: Sequence[Plan], usd_per_h: float) -> bool:
    """Whether one plan for all of the time costs less than those of the phases with their changes, and leaves no more unserved."""
    lost_rps, *others = (sum(row.unserved_rps for row in plan.desired.workloads) for plan in (single, *plans))
    return single.desired.cost_usd_per_h < usd_per_h and lost_rps <= min(others)


def _quick_plan(tried: Fleet, within: SolveLimits) -> Plan:
    return plan_fleet(settled(tried), State(), solver=QUICK_ENGINE, time_limit_s=within.time_limit_s, watch=within.watch).plan


class _Search:
    """Plans for parts of the time of one fleet."""

    def __init__(self, fleet: Fleet, time: Horizon, options: ScheduleOptions, apart: Sequence[ApartWorkloads]) -> None:
        self._apart = tuple(apart)
        self._fleet = fleet
        self._time = time
        self._options = options
        self._pools = {pool.name: pool for pool in fleet.pools}
        self._names = sorted({name for item in fleet.workloads for name in (item.served_name, item.adapter or item.served_name)})
        self._sizes = Warmth()
        self.outlay = cache(self._outlay)

    def rules(self) -> PhaseRules:
        """What a change costs, and when it is worth it."""
        return PhaseRules(self._switch_usd, self._options.shortest_s, self._fleet.policy.cost_slack_fraction)

    def _outlay(self, segments: PhaseSegments) -> Outlay:
        tried = during(self._fleet, self._time, segments)
        desired = plan_fleet(tried, State(), solver=QUICK_ENGINE, warm=self._sizes, watch=self._options.watch).plan.desired
        return Outlay(sum(row.unserved_rps for row in desired.workloads), desired.cost_usd_per_h, _rented(desired))

    def _switch_usd(self, one: Outlay, other: Outlay) -> float:
        """What it costs to rent more nodes than before: each its price for a start, and what it costs until it can be used."""
        found = 0.0
        for name, nodes in other.rented.items():
            pool, more = self._pools[name], max(0, nodes - one.rented.get(name, 0))
            found += more * (pool.start_price_usd + pool.start_time_s / HOUR_S * pool.gpus_per_node * pool.price_usd_per_h)
        return found

    def plan(self, segments: PhaseSegments, before: State) -> Plan:
        """The plan for some segments, from a state; models that nobody asks for then stay known to the router."""
        options = self._options
        then = during(self._fleet, self._time, segments)
        plan = plan_fleet(
            then, before, solver=options.solver, time_limit_s=options.time_limit_s, watch=options.watch, verify=options.verify
        ).plan
        known = {route.served_name for route in plan.desired.routes}
        silent = tuple(Route(served_name=name, backends=()) for name in self._names if name not in known)
        routes = tuple(sorted((*plan.desired.routes, *silent), key=lambda route: route.served_name))
        served = {row.served_name for row in plan.desired.workloads}
        told = tuple(item for item in self._apart if item.served_name in served)
        return self._judged(plan.desired.model_copy(update={"routes": routes, "apart_workloads": told}), before, plan)

    def _judged(self, desired: Desired, before: State, plan: Plan) -> Plan:
        made = change(before, desired, plan.churn)
        return checked(made, "plan", before, architectures(self._fleet))

    def with_sleepers(self, plan: Plan, follows: Plan, found: Sequence[PhaseSegments], number: int) -> Plan:
        """The plan of a phase after another one, of whose replicas those sleep that a later phase wants; actions lead from that one."""
        others = [segments for i, segments in enumerate(found) if i > number or (self._time.repeats and i != number)]
        asked = {item.served_name for segments in others for item in during(self._fleet, self._time, segments).workloads}
        desired = with_sleepers(plan.desired, follows.desired, asked)
        if desired.asleep and desired.playbook:
            # in a burst they may wake
            desired = with_playbook(plan.model_copy(update={"desired": desired}), self._fleet).desired
        return self._judged(desired, as_applied(follows), plan)

    def schedule(self, found: Sequence[PhaseSegments], plans: Sequence[Plan], single: Plan) -> Schedule:
        """The document."""
        time = self._time
        of = {segments: plan.desired for segments, plan in zip(found, plans, strict=True)}
        outlays = {segments: Outlay(0.0, desired.cost_usd_per_h, _rented(desired)) for segments, desired in of.items()}
        switches = changes(time, found)
        switches_usd = sum(self._switch_usd(outlays[one], outlays[other]) for one, other in switches)
        into: dict[PhaseSegments, PhaseSegments] = {}
        for one, other in switches:
            into.setdefault(other, one)
        all_h = sum(hours(time, segments) for segments in found)
        usd = sum(of[segments].cost_usd_per_h * hours(time, segments) for segments in found)
        return Schedule(
            timeline=time.timeline,
            end_s=time.end_s,
            repeats=time.repeats,
            phases=tuple(
                self._phase(number, segments, plans[number], of.get(into.get(segments, ()))) for number, segments in enumerate(found)
            ),
            usd_per_h=(usd + switches_usd) / all_h,
            switches_usd=switches_usd,
            single_usd_per_h=single.desired.cost_usd_per_h,
            single_gpus=single.desired.gpus_used,
            single_unserved_rps=sum(row.unserved_rps for row in single.desired.workloads),
            changes=len(switches),
        )

    def _phase(self, number: int, segments: PhaseSegments, plan: Plan, before: Desired | None) -> SchedulePhase:
        desired = plan.desired
        way = change(state_of(before, 1), desired) if before is not None else plan.model_copy(update={"actions": ()})
        kinds = [type(action) for action in way.actions]
        into = switch(before, way) if before is not None else Switch(0.0, 0.0, {})
        rented_before = _rented(before) if before is not None else {}
        more = [name for name, nodes in _rented(desired).items() if nodes > rented_before.get(name, 0)]
        node_s = max((self._pools[name].start_time_s for name in more), default=0.0)
        started = {action.replica for action in way.actions if isinstance(action, Start)}
        return SchedulePhase(
            name=f"phase-{number + 1}",
            plan=f"phase-{number + 1}.json",
            desired_sha256=desired_hash(desired),
            times=_times(self._time, segments),
            usd_per_h=desired.cost_usd_per_h,
            gpus=desired.gpus_used,
            nodes=_nodes(desired),
            unserved_rps=sum(row.unserved_rps for row in desired.workloads),
            sleepers=sleepers_of(desired, self._fleet.workloads),
            lead_s=node_s + into.lead_s,
            change_s=node_s + into.change_s,
            late_s=dict(into.late_s),
            loads_mib=sum(item.ledger.weights_mib * len(item.gpus) for item in way.started if item.name in started),
            starts=kinds.count(Start),
            wakes=kinds.count(Wake),
            sleeps=kinds.count(Sleep),
            stops=kinds.count(Stop),
            waits=self._waits(before, way, _times(self._time, segments)),
        )

    def _waits(self, before: Desired | None, way: Plan, times: Sequence[PhaseTime]) -> tuple[str, ...]:
        time = self._time
        if before is None or time.timeline != CLOCK:
            return ()
        # one that holds at the end of all time goes on at its start
        goes_on = time.repeats and times[-1].end_s == time.end_s
        begins_s = [each.start_s for each in times if not (goes_on and each.start_s == 0.0)]
        return tuple(waits(before, way, begins_s, time.end_s if time.repeats else None))


def _times(time: Horizon, segments: PhaseSegments) -> tuple[PhaseTime, ...]:
    """The stretches of a phase, those that follow each other as one."""
    found: list[PhaseTime] = []
    for number in segments:
        stretch = time.segments[number]
        if found and found[-1].end_s == stretch.start_s:
            found[-1] = found[-1].model_copy(update={"end_s": stretch.end_s})
        else:
            found.append(PhaseTime(start_s=stretch.start_s, end_s=stretch.end_s))
    return tuple(found)


def _nodes(desired: Desired) -> dict[str, int]:
    """Nodes by pool with a replica that is awake."""
    asleep = {item.name for item in desired.asleep}
    used = {(replica.pool, replica.node) for replica in desired.replicas if replica.name not in asleep}
    return {pool.name: sum(1 for name, _ in used if name == pool.name) for pool in desired.rules.pools}


def _rented(desired: Desired) -> dict[str, int]:
    """Nodes that are paid by pool, of those that are billed by node."""
    nodes = _nodes(desired)
    return {pool.name: max(nodes[pool.name], pool.min_nodes) for pool in desired.rules.pools if pool.billing == "node"}
