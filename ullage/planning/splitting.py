"""Which workloads are split by the length of their prompts, and where: a few lengths are tried, and the best is taken if it pays.

Few, since each costs a search: lengths that cannot be cheaper than what is known are left out by a bound that needs none, and of the
others those go first that look cheapest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from planner.demand.parted import parted
from planner.demand.prompt_lengths import SplitDemand
from planner.explain.cost_floor import least_microusd_per_h, usual_microusd_per_h
from planner.plan import LongPrompts, Plan, PromptSplit, State
from planner.problem import MICRO
from planner.sizing.blueprint import build
from planner.spec import Fleet
from planner.spec.fleet import Workload, over_bytes
from ullage.planning.ask import SolveLimits, left
from ullage.planning.verified import LEAST_ROOM
from ullage.planning.warm import Warmth

# Lengths that are solved for, of the five or so that there are.
MOST_TRIED = 3


@dataclass(frozen=True, slots=True)
class SplitFleet:
    """A fleet with its workloads split where that pays, and what became of each that may be."""

    fleet: Fleet
    told: tuple[PromptSplit, ...]


# The quick engine's plan of a fleet within limits, and confirmed by its simulation where the plan itself will be.
QuickPlan = Callable[[Fleet, SolveLimits], Plan]


@dataclass(frozen=True, slots=True)
class QuickAnswer:
    """A fleet with a quick plan: what it loses, highest priority first, its cost, and the models of which it serves nothing at all.

    Lost is what has no replica, and of what is served as best effort the part that the simulation sees late beyond what the goal allows.
    """

    fleet: Fleet
    lost_microrps: tuple[int, ...]
    cost_microusd_per_h: int
    starved: frozenset[str]

    def rank(self) -> tuple[tuple[int, ...], int]:
        """Smaller is better."""
        return self.lost_microrps, self.cost_microusd_per_h

    @property
    def lost_rps(self) -> float:
        """What is lost, of all workloads."""
        return sum(self.lost_microrps) / MICRO

    @property
    def usd_per_h(self) -> float:
        """The cost of the whole fleet."""
        return self.cost_microusd_per_h / MICRO


def answer_of(fleet: Fleet, plan: Plan) -> QuickAnswer:
    """What a plan of the fleet comes to."""
    goal_fraction = plan.desired.risk.attainment_fraction
    lost: defaultdict[int, float] = defaultdict(float)
    for row in plan.desired.workloads:
        kept_fraction = min((item.fraction for item in row.simulated), default=1.0) if row.best_effort else 1.0
        late = max(0.0, goal_fraction - kept_fraction) / goal_fraction
        lost[row.priority] += row.unserved_rps + (row.rate_rps - row.unserved_rps) * late
    return QuickAnswer(
        fleet,
        tuple(round(lost[priority] * MICRO) for priority in sorted(lost, reverse=True)),
        round(plan.desired.cost_usd_per_h * MICRO),
        frozenset(row.served_name for row in plan.desired.workloads if row.unserved_rps >= row.rate_rps),
    )


@dataclass(frozen=True, slots=True)
class _Outlook:
    """A way to split before it is solved: what it costs at least, and about."""

    split: SplitDemand
    fleet: Fleet
    least_microusd_per_h: float
    usual_microusd_per_h: float


def split_where_it_pays(
    fleet: Fleet, state: State, limits: SolveLimits, sizes: Warmth, quick_plan: QuickPlan, *, verify: bool
) -> SplitFleet:
    """The fleet with each workload that may be split decided, in the order of their names.

    With verify plans are confirmed by simulation, which may let replicas be much smaller than sizing asks for: so what a fleet costs at
    least is then what it costs with as little room as is ever tried.
    """
    names = sorted(workload.name for workload in fleet.workloads if workload.may_split)
    if not names:
        return SplitFleet(fleet, ())
    search = _Search(state, limits, sizes, quick_plan, len(names), LEAST_ROOM if verify else 1.0)
    known = search.solved(fleet)
    told = []
    for name in names:
        known, split = search.decided(known, name)
        told.append(split)
    return SplitFleet(known.fleet, tuple(told))


class _Search:
    """Fleets that are drawn up and planned; room_factor is the least that replicas may have of the room that sizing asks for."""

    def __init__(self, state: State, limits: SolveLimits, sizes: Warmth, quick_plan: QuickPlan, names: int, room_factor: float) -> None:
        self._state = state
        self._limits = limits
        self._sizes = sizes
        self._quick_plan = quick_plan
        self._questions = 1 + MOST_TRIED * names
        self._room_factor = room_factor
        self._started_s = perf_counter()

    def solved(self, fleet: Fleet) -> QuickAnswer:
        """A fleet with its quick plan."""
        # half of the time is for the plan itself
        return answer_of(fleet, self._quick_plan(fleet, left(self._limits, self._started_s, 2 * self._questions)))

    def decided(self, known: QuickAnswer, name: str) -> tuple[QuickAnswer, PromptSplit]:
        """The fleet with one workload split or left whole, and why."""
        workload = next(workload for workload in known.fleet.workloads if workload.name == name)
        if not workload.splits:
            return known, _told(workload, known, None, None, "its prompts have one length")
        best: QuickAnswer | None = None
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
            answer, tried = self.solved(outlook.fleet), tried + 1
            if answer.starved & {workload.served_name, workload.long_names[1]}:
                # whoever gets no replica at all had one before: however much else is served, that is no way to serve them
                starved += 1
                continue
            if best is None or answer.rank() < best.rank():
                best, where = answer, outlook.split
        if best is None or where is None:
            return known, _told(workload, known, None, None, _left_out(workload, known, starved, stopped=self._limits.stopped))
        paid = pays(best, known)
        reason = _reason(known, best, where, tried, paid=paid) + _other_goal(workload)
        return (best if paid else known), _told(workload, known, best, where if paid else None, reason)

    def _outlooks(self, fleet: Fleet, workload: Workload) -> list[_Outlook]:
        """Every way to split a workload, that first which looks cheapest."""
        found = []
        for split in workload.splits:
            changed = parted(fleet, workload.name, split)
            room = {} if self._room_factor == 1.0 else {item.served_name: self._room_factor for item in changed.workloads}
            blueprint = build(changed, self._state, slower=room, find=self._sizes.candidates)
            found.append(_Outlook(split, changed, least_microusd_per_h(blueprint), usual_microusd_per_h(blueprint)))
        return sorted(found, key=lambda outlook: (outlook.usual_microusd_per_h, outlook.split.over_tokens))


def _hopeless(outlook: _Outlook, known: QuickAnswer) -> bool:
    """Whether a split cannot be better than what is known: nothing is lost there, for no more than the split costs at least."""
    return not any(known.lost_microrps) and outlook.least_microusd_per_h >= known.cost_microusd_per_h


def pays(split: QuickAnswer, whole: QuickAnswer) -> bool:
    """Whether a split serves more, or as much for noticeably less: as much less as moves what runs (policy.cost_slack_fraction)."""
    if split.lost_microrps != whole.lost_microrps:
        return split.lost_microrps < whole.lost_microrps
    slack_fraction = whole.fleet.policy.cost_slack_fraction
    return split.cost_microusd_per_h < whole.cost_microusd_per_h * (1 - slack_fraction)


def _reason(whole: QuickAnswer, split: QuickAnswer, where: SplitDemand, tried: int, *, paid: bool) -> str:
    long_rps, short_rps = where.long.peak_rps, where.short.peak_rps
    parts = f"prompts of more than {where.over_tokens} tokens ({long_rps / (long_rps + short_rps):.1%} of requests at the peaks)"
    numbers = f"{split.usd_per_h:.2f} USD/h with a split and {whole.usd_per_h:.2f} without"
    if split.lost_rps or whole.lost_rps:
        numbers += f", {split.lost_rps:.3g} and {whole.lost_rps:.3g} requests/s unserved or late"
    if paid:
        return f"{parts} get replicas of their own: {numbers}"
    lengths = "the one length" if tried == 1 else f"the best of the {tried} lengths"
    return f"a split does not pay: {numbers}, for {parts}, {lengths} that could"


def _other_goal(workload: Workload) -> str:
    """That the two costs are of different goals, where they are."""
    if workload.long_ttft_p95_s in (None, workload.ttft_p95_s):
        return ""
    return f"; the TTFT goal of longer prompts is {workload.long_ttft_p95_s:g} s with a split, {workload.ttft_p95_s:g} s without"


def _left_out(workload: Workload, whole: QuickAnswer, starved: int, *, stopped: bool) -> str:
    if stopped:
        return "the search was stopped before a split was found"
    count = len(workload.splits)
    dear = f"{count - starved} cannot cost less than the {whole.usd_per_h:.2f} USD/h without a split"
    poor = f"{starved} leave a part that no replica serves within its goals (slo.long_ttft_p95 is that of longer prompts)"
    return f"no split: of {count} lengths {' and '.join(([dear] if starved < count else []) + ([poor] if starved else []))}"


def _told(workload: Workload, whole: QuickAnswer, tried: QuickAnswer | None, where: SplitDemand | None, reason: str) -> PromptSplit:
    long_workload, long_model = workload.long_names
    return PromptSplit(
        workload=workload.name,
        served_name=workload.served_name,
        longer=None if where is None else _rule(long_model, workload, where),
        long_workload=None if where is None else long_workload,
        unsplit_usd_per_h=whole.usd_per_h,
        unsplit_lost_rps=whole.lost_rps,
        split_usd_per_h=None if tried is None else tried.usd_per_h,
        split_lost_rps=None if tried is None else tried.lost_rps,
        reason=reason,
    )


def _rule(long_model: str, workload: Workload, where: SplitDemand) -> LongPrompts:
    return LongPrompts(
        served_name=long_model,
        over_tokens=where.over_tokens,
        bytes_per_token=workload.bytes_per_token,
        over_bytes=over_bytes(where.over_tokens, workload.bytes_per_token),
    )
