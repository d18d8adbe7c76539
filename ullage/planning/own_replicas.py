"""Which workloads of a model get replicas of their own: those whose mixture with more urgent ones does not work, or costs more.

Workloads of one model share its replicas, and every token of one that can wait takes time in the steps of those that cannot. Priorities
decide who waits, not how long a step takes. Where that is too much, each priority has replicas of its own, and the router tells requests
apart by the header that names their workload.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from time import perf_counter

from planner.explain.cost_floor import usual_microusd_per_h
from planner.plan import ApartWorkloads, State
from planner.sizing.blueprint import build
from planner.spec import Fleet
from planner.spec.fleet import Workload
from ullage.planning.ask import SolveLimits, left
from ullage.planning.splitting import QuickAnswer, QuickPlan, answer_of, pays
from ullage.planning.warm import Warmth


@dataclass(frozen=True, slots=True)
class ApartFleet:
    """A fleet in which workloads have replicas of their own where that pays, and who they are."""

    fleet: Fleet
    told: tuple[ApartWorkloads, ...]


def apart_where_it_pays(fleet: Fleet, state: State, limits: SolveLimits, sizes: Warmth, quick_plan: QuickPlan) -> ApartFleet:
    """The fleet with each model of several priorities decided, in the order of their names.

    Nothing is planned for a model whose priorities together look no dearer than apart: by the cheapest ways of each alone.
    """
    started_s = perf_counter()
    names = [name for name in sorted(_mixed(fleet)) if _looks_cheaper(fleet, name, state, sizes)]
    if not names:
        return ApartFleet(fleet, ())
    # half of the time is for the plan itself
    questions = 2 * (1 + len(names))
    known = answer_of(fleet, quick_plan(fleet, left(limits, started_s, questions)))
    told: list[ApartWorkloads] = []
    for name in names:
        if limits.stopped:
            break
        changed = apart(known.fleet, name)
        tried = answer_of(changed, quick_plan(changed, left(limits, started_s, questions)))
        if not tried.starved - known.starved and pays(tried, known):
            told += _told(known, tried, name)
            known = tried
    return ApartFleet(known.fleet, tuple(told))


def apart(fleet: Fleet, model: str) -> Fleet:
    """The fleet with replicas for each priority of a model: the most urgent one keeps the model's own."""
    mixed = _mixed(fleet)[model]
    first = max(workload.priority for workload in mixed)
    names = {workload.name for workload in mixed if workload.priority < first}
    further = tuple(sorted({workload.apart_name for workload in mixed if workload.priority < first}))
    return fleet.model_copy(
        update={
            "workloads": tuple(
                workload.model_copy(update={"apart": True})
                if workload.name in names
                # whoever is kept away from the model is kept away from all of its replicas
                else workload.model_copy(update={"not_with": tuple(sorted({*workload.not_with, *further}))})
                if model in workload.not_with
                else workload
                for workload in fleet.workloads
            )
        }
    )


def settled(fleet: Fleet) -> Fleet:
    """The fleet with all workloads of several priorities sharing for good: nothing is decided again for parts of it."""
    names = {item.name for items in _mixed(fleet).values() for item in items}
    workloads = (item.model_copy(update={"by_priority": True}) if item.name in names else item for item in fleet.workloads)
    return fleet.model_copy(update={"workloads": tuple(workloads)})


def _mixed(fleet: Fleet) -> dict[str, list[Workload]]:
    """Workloads by served model, of those that have several priorities and nothing else that tells its requests apart."""
    found: defaultdict[str, list[Workload]] = defaultdict(list)
    for workload in fleet.workloads:
        found[workload.served_name].append(workload)
    taken = {model.name for model in fleet.models} | {item.name for item in fleet.workloads}
    return {
        name: items
        for name, items in found.items()
        if len({item.priority for item in items}) > 1
        and not items[0].model.pooling
        and not any(map(_told_apart_or_settled, items))
        and not taken & {item.apart_name for item in items}
    }


def _told_apart_or_settled(workload: Workload) -> bool:
    told_apart = workload.isolate or workload.adapter or workload.may_split or workload.longer_of is not None
    return bool(told_apart or workload.apart or workload.by_priority)


def _looks_cheaper(fleet: Fleet, name: str, state: State, sizes: Warmth) -> bool:
    """Whether the cheapest ways of the model alone cost less with its priorities apart."""
    own = fleet.model_copy(update={"workloads": tuple(item for item in fleet.workloads if item.served_name == name)})
    together, divided = (usual_microusd_per_h(build(item, state, find=sizes.candidates)) for item in (own, apart(own, name)))
    return divided < together * (1 - fleet.policy.cost_slack_fraction)


def _told(shared: QuickAnswer, tried: QuickAnswer, model: str) -> list[ApartWorkloads]:
    by_name: defaultdict[str, list[Workload]] = defaultdict(list)
    for workload in tried.fleet.workloads:
        if workload.apart and workload.model.name == model:
            by_name[workload.served_name].append(workload)
    lost = ""
    if shared.lost_rps or tried.lost_rps:
        lost = f", {tried.lost_rps:.3g} and {shared.lost_rps:.3g} requests/s unserved or late"
    return [
        ApartWorkloads(
            model=model,
            priority=items[0].priority,
            workloads=tuple(sorted(item.name for item in items)),
            served_name=name,
            shared_usd_per_h=shared.usd_per_h,
            shared_lost_rps=shared.lost_rps,
            apart_usd_per_h=tried.usd_per_h,
            apart_lost_rps=tried.lost_rps,
            reason=f"{tried.usd_per_h:.2f} USD/h with replicas of their own and {shared.usd_per_h:.2f} on shared ones{lost}",
        )
        for name, items in sorted(by_name.items())
    ]
