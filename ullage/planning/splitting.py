"""Which workloads are split by the length of their prompts, and where: a few lengths are tried, and the best is taken if it pays.

Few, since each costs a search: lengths that cannot be cheaper than what is known are left out by a bound that needs none, and of the
others those go first that look cheapest.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from time import perf_counter

from planner.demand.parted import parted
from planner.demand.prompt_lengths import SplitDemand
from planner.explain.cost_floor import least_microusd_per_h, usual_microusd_per_h
from planner.plan import LongPrompts, PromptSplit, State
from planner.problem import MICRO
from planner.sizing.blueprint import Blueprint, build
from planner.spec import Fleet
from planner.spec.fleet import Workload, over_bytes
from ullage.planning.ask import QUICK_ENGINE, SolveLimits, ask, left
from ullage.planning.tolerance import answer_with_places
from ullage.planning.warm import Warmth

# Lengths that are solved for, of the five or so that there are.
MOST_TRIED = 3


@dataclass(frozen=True, slots=True)
class SplitFleet:
    """A fleet with its workloads split where that pays, what became of each that may be, and the sizes of replicas found meanwhile."""

    fleet: Fleet
    told: tuple[PromptSplit, ...]
    sizes: Warmth


@dataclass(frozen=True, slots=True)
class _Answer:
    """A fleet with the quick engine's answer: what stays unserved, highest priority first, the cost, and who is served nothing at all."""

    fleet: Fleet
    unserved_microrps: tuple[int, ...]
    cost_microusd_per_h: int
    starved: frozenset[str]

    def rank(self) -> tuple[tuple[int, ...], int]:
        """Smaller is better."""
        return self.unserved_microrps, self.cost_microusd_per_h

    @property
    def unserved_rps(self) -> float:
        """What no replica carries, of all workloads."""
        return sum(self.unserved_microrps) / MICRO

    @property
    def usd_per_h(self) -> float:
        """The cost of the whole fleet."""
        return self.cost_microusd_per_h / MICRO


@dataclass(frozen=True, slots=True)
class _Outlook:
    """A way to split before it is solved: what it costs at least, and about."""

    split: SplitDemand
    fleet: Fleet
    blueprint: Blueprint
    least_microusd_per_h: float
    usual_microusd_per_h: float


def split_where_it_pays(fleet: Fleet, state: State, limits: SolveLimits, sizes: Warmth | None) -> SplitFleet:
    """The fleet with each workload that may be split decided, in the order of their names; sizes are those that are known already."""
    names = sorted(workload.name for workload in fleet.workloads if workload.may_split)
    search = _Search(state, limits, sizes or Warmth(), len(names))
    if not names:
        return SplitFleet(fleet, (), search.sizes)
    known = search.solved(fleet, search.drawn(fleet))
    told = []
    for name in names:
        known, split = search.decided(known, name)
        told.append(split)
    return SplitFleet(known.fleet, tuple(told), search.sizes)


class _Search:
    """Fleets that are drawn up and solved, with one store of sizes."""

    def __init__(self, state: State, limits: SolveLimits, sizes: Warmth, names: int) -> None:
        self.sizes = sizes
        self._state = state
        self._limits = limits
        self._questions = 1 + MOST_TRIED * names
        self._started_s = perf_counter()

    def drawn(self, fleet: Fleet) -> Blueprint:
        return build(fleet, self._state, find=self.sizes.candidates)

    def solved(self, fleet: Fleet, blueprint: Blueprint) -> _Answer:
        # half of the time is for the plan itself
        limits = left(self._limits, self._started_s, 2 * self._questions)
        answered = answer_with_places(blueprint.problem, lambda problem: ask(fleet, blueprint, problem, QUICK_ENGINE, limits, alone=True))
        best = answered.outcome.best
        unserved: defaultdict[int, int] = defaultdict(int)
        for demand, missing in zip(blueprint.problem.demands, best.unserved_microrps, strict=True):
            unserved[demand.priority] += missing
        starved = frozenset(
            demand.name
            for demand, missing in zip(blueprint.problem.demands, best.unserved_microrps, strict=True)
            if missing >= demand.peak_microrps
        )
        by_priority = tuple(unserved[priority] for priority in sorted(unserved, reverse=True))
        return _Answer(fleet, by_priority, best.cost_microusd_per_h, starved)

    def decided(self, known: _Answer, name: str) -> tuple[_Answer, PromptSplit]:
        """The fleet with one workload split or left whole, and why."""
        workload = next(workload for workload in known.fleet.workloads if workload.name == name)
        if not workload.splits:
            return known, _told(workload, known, None, None, "its prompts have one length")
        best: _Answer | None = None
        where: SplitDemand | None = None
        tried = starved = 0
        for outlook in self._outlooks(known.fleet, workload):
            if tried == MOST_TRIED or self._limits.stopped:
                break
            if outlook.usual_microusd_per_h == float("inf"):
                starved += 1
                continue
            if _hopeless(outlook, known) or (best is not None and _hopeless(outlook, best)):
                continue
            answer, tried = self.solved(outlook.fleet, outlook.blueprint), tried + 1
            if answer.starved & {workload.served_name, workload.long_names[1]}:
                # whoever gets no replica at all had one before: however much else is served, that is no way to serve them
                starved += 1
                continue
            if best is None or answer.rank() < best.rank():
                best, where = answer, outlook.split
        if best is None or where is None:
            return known, _told(workload, known, None, None, _left_out(workload, known, starved, stopped=self._limits.stopped))
        pays = _pays(best, known)
        reason = _reason(known, best, where, tried, pays=pays) + _other_goal(workload)
        return (best if pays else known), _told(workload, known, best, where if pays else None, reason)

    def _outlooks(self, fleet: Fleet, workload: Workload) -> list[_Outlook]:
        """Every way to split a workload, that first which looks cheapest."""
        found = []
        for split in workload.splits:
            changed = parted(fleet, workload.name, split)
            blueprint = self.drawn(changed)
            found.append(_Outlook(split, changed, blueprint, least_microusd_per_h(blueprint), usual_microusd_per_h(blueprint)))
        return sorted(found, key=lambda outlook: (outlook.usual_microusd_per_h, outlook.split.over_tokens))


def _hopeless(outlook: _Outlook, known: _Answer) -> bool:
    """Whether a split cannot be better than what is known: everything is served there, for no more than the split costs at least."""
    return not any(known.unserved_microrps) and outlook.least_microusd_per_h >= known.cost_microusd_per_h


def _pays(split: _Answer, whole: _Answer) -> bool:
    """Whether a split serves more, or as much for noticeably less: as much less as moves what runs (policy.cost_slack_fraction)."""
    if split.unserved_microrps != whole.unserved_microrps:
        return split.unserved_microrps < whole.unserved_microrps
    slack_fraction = whole.fleet.policy.cost_slack_fraction
    return split.cost_microusd_per_h < whole.cost_microusd_per_h * (1 - slack_fraction)


def _reason(whole: _Answer, split: _Answer, where: SplitDemand, tried: int, *, pays: bool) -> str:
    long_rps, short_rps = where.long.peak_rps, where.short.peak_rps
    parts = f"prompts of more than {where.over_tokens} tokens ({long_rps / (long_rps + short_rps):.1%} of requests at the peaks)"
    numbers = f"{split.usd_per_h:.2f} USD/h with a split and {whole.usd_per_h:.2f} without"
    if split.unserved_rps or whole.unserved_rps:
        numbers += f", {split.unserved_rps:.3g} and {whole.unserved_rps:.3g} requests/s unserved"
    if pays:
        return f"{parts} get replicas of their own: {numbers}"
    lengths = "the one length" if tried == 1 else f"the best of the {tried} lengths"
    return f"a split does not pay: {numbers}, for {parts}, {lengths} that could"


def _other_goal(workload: Workload) -> str:
    """That the two costs are of different goals, where they are."""
    if workload.long_ttft_p95_s in (None, workload.ttft_p95_s):
        return ""
    return f"; the TTFT goal of longer prompts is {workload.long_ttft_p95_s:g} s with a split, {workload.ttft_p95_s:g} s without"


def _left_out(workload: Workload, whole: _Answer, starved: int, *, stopped: bool) -> str:
    if stopped:
        return "the search was stopped before a split was found"
    count = len(workload.splits)
    dear = f"{count - starved} cannot cost less than the {whole.usd_per_h:.2f} USD/h without a split"
    poor = f"{starved} leave a part that no replica serves within its goals (slo.long_ttft_p95 is that of longer prompts)"
    return f"no split: of {count} lengths {' and '.join(([dear] if starved < count else []) + ([poor] if starved else []))}"


def _told(workload: Workload, whole: _Answer, tried: _Answer | None, where: SplitDemand | None, reason: str) -> PromptSplit:
    long_workload, long_model = workload.long_names
    return PromptSplit(
        workload=workload.name,
        served_name=workload.served_name,
        longer=None if where is None else _rule(long_model, workload, where),
        long_workload=None if where is None else long_workload,
        unsplit_usd_per_h=whole.usd_per_h,
        unsplit_unserved_rps=whole.unserved_rps,
        split_usd_per_h=None if tried is None else tried.usd_per_h,
        split_unserved_rps=None if tried is None else tried.unserved_rps,
        reason=reason,
    )


def _rule(long_model: str, workload: Workload, where: SplitDemand) -> LongPrompts:
    return LongPrompts(
        served_name=long_model,
        over_tokens=where.over_tokens,
        bytes_per_token=workload.bytes_per_token,
        over_bytes=over_bytes(where.over_tokens, workload.bytes_per_token),
    )
