"""The time that a schedule is made for, cut where demand changes, and a fleet as it is in a part of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.demand.joint import Stretch, offered, stretches
from planner.demand.windows import DemandProfile, DemandWindow, windowed_demand
from planner.sleep_costs import RESIDUE_MIB
from planner.spec import Fleet, Workload

# Sleepers on one GPU for which KV pools leave room: for more of them, pools would become small.
_MOST_SPARED = 3


@dataclass(frozen=True, slots=True)
class Horizon:
    """Segments in order, without gaps, from 0 to end_s of one timeline; repeats: after the last comes the first."""

    timeline: str
    end_s: float
    repeats: bool
    segments: tuple[Stretch, ...]


def horizon(fleet: Fleet) -> Horizon:
    """The horizon of a fleet's demand.

    Raises ValueError where demand never changes, changes on several timelines, or prompts are to be split by length.
    """
    split = sorted(workload.name for workload in fleet.workloads if workload.may_split)
    if split:
        raise ValueError(f"workloads.{split[0]}.split: a schedule does not split prompts by length; leave split out")
    timelines: dict[str, str] = {}
    for workload in fleet.workloads:
        if workload.demand.timeline is not None:
            timelines.setdefault(workload.demand.timeline, workload.name)
    if not timelines:
        raise ValueError("workloads: all demand is constant, so one plan is right at all times; give windows, a trace or a forecast")
    if len(timelines) > 1:
        one, other = sorted(timelines)[:2]
        raise ValueError(
            f"workloads: {timelines[one]} changes on the timeline {one} and {timelines[other]} on {other}; nobody knows when they happen "
            "together, so give all of them on one"
        )
    timeline = next(iter(timelines))
    changing = [workload.demand for workload in fleet.workloads if workload.demand.timeline == timeline]
    found = [stretch for stretch in stretches(workload.demand for workload in fleet.workloads) if stretch.timeline == timeline]
    repeats = all(demand.every_s is not None for demand in changing)
    end_s = max([found[-1].end_s, *(demand.every_s or 0.0 for demand in changing)])
    cuts = sorted({0.0, end_s, *(edge_s for stretch in found for edge_s in (stretch.start_s, stretch.end_s))})
    return Horizon(timeline, end_s, repeats, tuple(Stretch(timeline, start_s, until_s) for start_s, until_s in pairwise(cuts)))


def during(fleet: Fleet, time: Horizon, segments: Sequence[int]) -> Fleet:
    """The fleet with what is asked for in some of the segments only; workloads that ask for nothing then are left out.

    KV pools leave room for what those hold that may sleep meanwhile.
    """
    stretches_then = [time.segments[number] for number in sorted(segments)]
    then = (_during(workload, time, stretches_then) for workload in fleet.workloads)
    workloads = tuple(workload for workload in then if workload is not None)
    idle = {model.name for model in fleet.models if model.sleep} - {workload.model.name for workload in workloads}
    policy = fleet.policy.model_copy(update={"spared_mib": RESIDUE_MIB * min(len(idle), _MOST_SPARED)})
    return fleet.model_copy(update={"workloads": workloads, "policy": policy})


def asked_in(demand: DemandProfile, stretch: Stretch) -> DemandWindow | None:
    """What is asked for in a stretch of its timeline, within which nothing changes; None where that is nothing.

    A window that is quiet by chance counts as planner.demand.joint.offered counts it.
    """
    time_s = stretch.start_s if demand.every_s is None else stretch.start_s % demand.every_s
    position = bisect_right(demand.windows, time_s, key=lambda window: window.start_s) - 1
    if position < 0 or time_s >= demand.windows[position].end_s:
        return None
    window = demand.windows[position]
    rate_rps = offered(demand, stretch).rate_rps
    return window.model_copy(update={"rate_rps": rate_rps}) if rate_rps > 0.0 else None


def _during(workload: Workload, time: Horizon, then: Sequence[Stretch]) -> Workload | None:
    demand = workload.demand
    if demand.timeline is None:
        return workload
    windows = [
        window.model_copy(update={"start_s": stretch.start_s, "end_s": stretch.end_s})
        for stretch in then
        if (window := asked_in(demand, stretch)) is not None
    ]
    if not windows:
        return None
    kept = {"every_s": time.end_s if time.repeats else None, "mean_rps": demand.mean_rps}
    return workload.model_copy(update={"demand": windowed_demand(windows, time.timeline).model_copy(update=kept)})
