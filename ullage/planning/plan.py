"""Wires the planner to the engines: a fleet and a state in, a checked plan out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from planner.assembly.assemble import NOTHING_RESOLVED, Resolved, Tolerance, assemble
from planner.plan import Plan, State
from planner.plan.local_paths import is_local
from planner.playbook.burst_steps import playbook
from planner.problem import Watch
from planner.simulation.plan_input import planned_world
from planner.sizing.blueprint import build
from planner.spec import Fleet
from profiles.catalogue import builtin
from profiles.models import Architecture
from solvers.portfolio import solve_all
from ullage.checking import FindArchitecture, architecture_of, checked
from ullage.planning.ask import DEFAULT_ENGINE, GREEDY_ENGINE, QUICK_ENGINE, SolveLimits, ask
from ullage.planning.own_replicas import apart_where_it_pays
from ullage.planning.shared_work import SharedWork
from ullage.planning.splitting import split_where_it_pays
from ullage.planning.tolerance import answer_with_places
from ullage.planning.verified import Draft, Drafts, DraftWith, confirmed
from ullage.planning.warm import Warmth
from ullage.planning.what_if import resolve


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the seconds it took; the seconds go to the screen, never into the plan."""

    plan: Plan
    solve_s: float


def plan_fleet(
    fleet: Fleet,
    state: State,
    *,
    solver: str = DEFAULT_ENGINE,
    time_limit_s: float | None = None,
    watch: Watch | None = None,
    explain: bool = False,
    verify: bool = False,
    warm: Warmth | SharedWork | None = None,
) -> Planned:
    """The best of an engine and all baselines, judged by the independent checker (CheckError is a defect of ours, not of the input).

    explain solves again for what only that tells: conflicts, what one more GPU of any full pool would buy, cost at p10 and p90 step times.
    Without it only what is unserved is looked into. verify simulates every GPU with its planned load, and plans again with more room for
    models that fall short; it also makes the playbook that policy.bursts asks for. watch may end everything early with the best plan so
    far. warm is what plans of fleets like this one have left; whoever plans many compares them with each other, so simpler methods are not
    asked then, nor what one more GPU would buy. Work that is shared changes no plan.
    """
    started_s = perf_counter()
    warm, shared = (None, warm) if isinstance(warm, SharedWork) else (warm, None)
    limits = SolveLimits(time_limit_s, watch)
    architecture, sizes = architectures(fleet), warm or (shared.sizes if shared is not None else Warmth())

    def quick_plan(tried: Fleet, within: SolveLimits) -> Plan:
        how = _How(tried, state, QUICK_ENGINE, within, perf_counter(), explain=False, alone=True, warm=None, sizes=sizes)
        return _quick_plan(how, verify=verify)

    alone = apart_where_it_pays(fleet, state, limits, sizes, quick_plan)
    split = split_where_it_pays(alone.fleet, state, limits, sizes, quick_plan, verify=verify)
    # whoever plans many compares them with each other; others' engines decline some problems, so that baselines stay beside them
    how = _How(split.fleet, state, solver, limits, started_s, explain=explain, alone=False, warm=warm, sizes=sizes, shared=shared)
    plan = _confirmed(how) if verify else _decided(how.with_engine(solver), {})[1]()
    if split.told or alone.told:
        told = {"prompt_splits": split.told, "apart_workloads": alone.told}
        plan = plan.model_copy(update={"desired": plan.desired.model_copy(update=told)})
    if verify and warm is None and fleet.policy.bursts:
        plan = with_playbook(plan, fleet)
    return Planned(checked(plan, "plan", state, architecture), perf_counter() - started_s)


def with_playbook(plan: Plan, fleet: Fleet) -> Plan:
    """The plan with what to do in the bursts that the fleet asks about."""
    world = planned_world(plan, builtin().gpu, architectures(fleet), fleet.measurements)
    bursts = playbook(plan.desired, world, fleet.policy.bursts)
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"playbook": bursts})})


@dataclass(frozen=True, slots=True)
class _How:
    """How a draft is made; alone: without baselines. sizes are what is known of replicas' sizes."""

    fleet: Fleet
    state: State
    solver: str
    limits: SolveLimits
    started_s: float
    explain: bool
    alone: bool
    warm: Warmth | None
    sizes: Warmth
    shared: SharedWork | None = None

    def with_engine(self, engine: str, *, alone: bool = False) -> _How:
        """The same with another engine; one of ours is compared with itself where many plans are made, and needs no baselines then."""
        compared = self.warm is not None and engine in {DEFAULT_ENGINE, QUICK_ENGINE}
        return replace(self, solver=engine, alone=alone or compared)

    def stopped(self) -> bool:
        """Whether the time is over, or whoever waits wants no more."""
        limit_s = self.limits.time_limit_s
        return (limit_s is not None and perf_counter() - self.started_s > limit_s) or self.limits.stopped


def _confirmed(how: _How) -> Plan:
    """The plan that its own simulation confirms."""
    quick = QUICK_ENGINE if how.solver == DEFAULT_ENGINE else how.solver

    def drafts_of(engine: str, *, alone: bool = False) -> DraftWith:
        return lambda slower: _draft(how.with_engine(engine, alone=alone), slower)

    drafts = Drafts(
        greedy=drafts_of(GREEDY_ENGINE, alone=True),
        quick=drafts_of(quick, alone=quick == QUICK_ENGINE),
        shown=drafts_of(quick),
        full=drafts_of(how.solver),
    )
    return confirmed(how.fleet, drafts, architectures(how.fleet), how.stopped, lambda: how.limits.stopped)


def _quick_plan(how: _How, *, verify: bool) -> Plan:
    """A plan to compare with others: one engine, nothing looked into, and with verify confirmed by its simulation."""

    def drafted(engine: str) -> DraftWith:
        def draft(slower: Mapping[str, float]) -> Draft:
            plan = _draft(how.with_engine(engine, alone=True), slower).plan
            return Draft(plan, lambda: plan)

        return draft

    quick = drafted(how.solver)
    if not verify:
        return quick({}).plan
    drafts = Drafts(greedy=drafted(GREEDY_ENGINE), quick=quick, shown=quick, full=quick)
    return confirmed(how.fleet, drafts, architectures(how.fleet), how.stopped, lambda: how.limits.stopped)


def _draft(how: _How, slower: Mapping[str, float]) -> Draft:
    """A plan with step times as given, not yet explained."""
    assembled, explained = _decided(how, slower)
    return Draft(assembled(NOTHING_RESOLVED), explained)


def _decided(how: _How, slower: Mapping[str, float]) -> tuple[Callable[[Resolved], Plan], Callable[[], Plan]]:
    """What is decided with step times as given: how a plan is assembled from it, and the plan with all that was asked for."""
    fleet, warm = how.fleet, how.warm
    solve = solve_all if how.shared is None else how.shared.solve_all
    blueprint = build(fleet, how.state, slower=slower, find=how.sizes.candidates)
    if warm is not None:
        blueprint = replace(blueprint, problem=warm.started(blueprint.problem))
    answered = answer_with_places(
        blueprint.problem, lambda problem: ask(fleet, blueprint, problem, how.solver, how.limits, alone=how.alone, solve=solve)
    )
    if warm is not None:
        warm.remember(answered.problem, answered.outcome.best)
    decided = replace(blueprint, problem=answered.problem)
    tolerance = Tolerance(answered.losses, answered.cost_microusd_per_h)

    def assembled(resolved: Resolved) -> Plan:
        return assemble(fleet, decided, answered.outcome, answered.placed, how.state, tolerance, resolved)

    def explained() -> Plan:
        if warm is not None or how.shared is not None:
            return assembled(Resolved())
        return assembled(resolve(fleet, decided, answered.outcome.best, how.limits, how.started_s, explain=how.explain))

    return assembled, explained


def architectures(fleet: Fleet) -> FindArchitecture:
    """How to find an architecture: those of local models as the fleet has read them, since it may be anywhere."""
    local = {model.engine_model: model.architecture for model in fleet.models if is_local(model.engine_model)}

    def find(name: str) -> Architecture:
        return local[name] if name in local else architecture_of(name)

    return find
