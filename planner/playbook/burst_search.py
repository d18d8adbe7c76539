"""The search for the steps of one entry.

First sleepers wake that cost nobody anything, then workloads are refused, then sleepers wake in others' place; in the end without what
does not help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from planner.plan import WorkloadForecast
from planner.playbook.burst_judge import BurstJudge
from planner.playbook.burst_moves import NO_MOVES, BurstMoves
from planner.playbook.burst_wakes import WakeUp, WakeUps
from planner.playbook.yielding import names_of, who_yields

# Worth less than any choice: somebody would serve without the room or the right to it.
_NOT_ALLOWED = -1.0


@dataclass(frozen=True, slots=True)
class BurstChoice:
    """Workloads that are refused, and sleepers that wake, in order: those that cost nobody anything before the refusals."""

    refused: tuple[WorkloadForecast, ...] = ()
    wakes: tuple[WakeUp, ...] = ()

    @property
    def free_wakes(self) -> tuple[WakeUp, ...]:
        """Those before the first in whose place others go."""
        return tuple(takewhile(lambda one: not one.yields, self.wakes))

    @property
    def moves(self) -> BurstMoves:
        """Of all of them."""
        return self.wakes[-1].after if self.wakes else NO_MOVES


def chosen_for(judge: BurstJudge, workload: WorkloadForecast, factor: float) -> BurstChoice:
    """What brings a workload to its goals, or as near as it gets; nothing without which it keeps no less."""
    search = _Search(judge, workload, factor)
    return search.needed(search.enough())


class _Search:
    """Choices for one workload and factor."""

    def __init__(self, judge: BurstJudge, workload: WorkloadForecast, factor: float) -> None:
        self._judge = judge
        self._workload = workload
        self._factor = factor
        self._goal_fraction = judge.desired.risk.attainment_fraction
        self._may_refuse = who_yields(judge.desired, workload)
        self._wake_ups = WakeUps(judge.desired, workload, names_of(self._may_refuse))

    def enough(self) -> BurstChoice:
        """Who wakes at no cost, who is refused, then who wakes in others' place, until the workload keeps its goals or nobody is left."""
        choice = self._woken(BurstChoice(), free=True)
        if choice.wakes and self._kept_fraction(choice) >= self._goal_fraction:
            return choice
        for other in self._may_refuse:
            choice = BurstChoice((*choice.refused, other), choice.wakes)
            if self._kept_fraction(choice) >= self._goal_fraction:
                return choice
        return self._woken(choice, free=False)

    def _woken(self, choice: BurstChoice, *, free: bool) -> BurstChoice:
        """The choice with sleepers that wake, one after another; free: those alone in whose place nobody goes."""
        spoilt: set[str] = set()
        while (one := self._wake_ups.cheapest(choice.moves, spoilt)) is not None and not (free and one.yields):
            more = BurstChoice(choice.refused, (*choice.wakes, one))
            kept_fraction = self._kept_fraction(more)
            if kept_fraction == _NOT_ALLOWED:
                spoilt.add(one.sleeper.name)
                continue
            choice = more
            if kept_fraction >= self._goal_fraction:
                break
        return choice

    def needed(self, choice: BurstChoice) -> BurstChoice:
        """Without what does not help: those that wake in others' place are spared first, then the more urgent that are refused."""
        # where even all of it does not bring it to its goal, as many misses more as the goal allows are no difference
        most_fraction = self._kept_fraction(choice)
        enough_fraction = self._goal_fraction if most_fraction >= self._goal_fraction else most_fraction - (1.0 - self._goal_fraction)
        for spared in self._spared(choice):
            fewer = self._without(choice, spared)
            if fewer is not None and self._kept_fraction(fewer) >= enough_fraction:
                choice = fewer
        return choice

    def _spared(self, choice: BurstChoice) -> Iterator[str]:
        """Names of replicas that wake and of workloads that are refused."""
        yield from (one.sleeper.name for one in reversed(choice.wakes) if one.yields)
        yield from (other.name for other in reversed(choice.refused))
        yield from (one.sleeper.name for one in reversed(choice.wakes) if not one.yields)

    def _without(self, choice: BurstChoice, name: str) -> BurstChoice | None:
        """Whoever wakes after one that does not finds other room; None where there is none."""
        refused = tuple(other for other in choice.refused if other.name != name)
        if len(refused) < len(choice.refused):
            return BurstChoice(refused, choice.wakes)
        left = self._wake_ups.in_a_row([one.sleeper for one in choice.wakes if one.sleeper.name != name])
        return None if left is None else BurstChoice(refused, tuple(left))

    def _kept_fraction(self, choice: BurstChoice) -> float:
        """What the workload keeps; nothing is allowed by which somebody as urgent keeps fewer of its goals than before the first wakes.

        That is with the refusals alone, or with nothing done where somebody wakes before them.
        """
        names = names_of(choice.refused)
        if any(not one.needed <= names for one in choice.wakes):
            return _NOT_ALLOWED
        after = self._judge.outcome(self._workload, self._factor, names, choice.moves)
        if choice.wakes:
            alone = self._judge.outcome(self._workload, self._factor, frozenset() if choice.free_wakes else names)
            for other in self._as_urgent():
                if after.of(other.name) < min(self._goal_fraction, alone.of(other.name)):
                    return _NOT_ALLOWED
        return after.of(self._workload.name)

    def _as_urgent(self) -> Sequence[WorkloadForecast]:
        own = self._workload
        return [other for other in self._judge.desired.workloads if other.priority >= own.priority and other.name != own.name]
