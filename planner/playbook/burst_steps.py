"""The steps of a playbook: who is refused, sleeps, stops and wakes, in which order, so that a workload with a burst keeps its goals."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence, Set

from planner.plan import Burst, BurstStep, Desired, FreedShare, Replica, WorkloadForecast
from planner.playbook.burst_judge import BurstJudge, BurstOutcome
from planner.playbook.burst_moves import NO_MOVES, BurstMoves
from planner.playbook.burst_search import BurstChoice, chosen_for
from planner.playbook.burst_wakes import WakeUp
from planner.playbook.yielding import ending_s, names_of, seats_of, who_yields
from planner.simulation.plan_input import PlannedWorld
from planner.sleep_costs import asleep_mib, sleep_s, wake_s
from planner.transitions.outages import STOP_LIMIT_S
from planner.verification.plan_judge import KEPT_LOAD_FACTORS


def playbook(desired: Desired, world: PlannedWorld, factors: Sequence[float]) -> tuple[Burst, ...]:
    """What to do when any one workload that is served gets a multiple of its load; by workload, then by factor."""
    served = [workload for workload in desired.workloads if workload.rate_rps > workload.unserved_rps]
    judge = BurstJudge(desired, world, max(1, len(served) * len(factors)))
    return tuple(item for workload in served for item in _bursts(judge, workload, factors))


def _bursts(judge: BurstJudge, workload: WorkloadForecast, factors: Sequence[float]) -> list[Burst]:
    """For each factor, ascending. What bears a larger one as it is, with nobody late, bears a smaller one no worse."""
    found: list[Burst] = []
    for factor in sorted(factors, reverse=True):
        larger = found[-1] if found else None
        if larger is not None and larger.kept_load_factor == larger.load_factor and not larger.steps and not larger.late_rps:
            found.append(larger.model_copy(update={"load_factor": factor, "kept_load_factor": factor}))
        else:
            found.append(burst(judge, workload, factor, (1.0, *factors)))
    return found[::-1]


def burst(judge: BurstJudge, workload: WorkloadForecast, factor: float, tried: Sequence[float] = KEPT_LOAD_FACTORS) -> Burst:
    """The steps for one workload and factor: none where it keeps its goals as it is, or where nothing helps.

    Where they are not enough, smaller factors of those to be tried are.
    """
    goal_fraction = judge.desired.risk.attainment_fraction
    before = judge.outcome(workload, factor, frozenset())
    choice = BurstChoice()
    if before.of(workload.name) < goal_fraction:
        choice = chosen_for(judge, workload, factor)
    steps = tuple(_Steps(judge, workload, factor).of(choice))
    last = steps[-1].attainment_fraction if steps else before.of(workload.name)
    return Burst(
        workload=workload.name,
        load_factor=factor,
        lasts_s=judge.lasts_s(workload, factor),
        attainment_fraction=before.of(workload.name),
        late_rps=_late_rps(judge.desired, workload, before, frozenset()),
        steps=steps,
        kept_load_factor=factor
        if last >= goal_fraction
        else _kept_load_factor(judge, workload, [known for known in tried if 1.0 <= known < factor], choice.moves),
    )


def _kept_load_factor(judge: BurstJudge, workload: WorkloadForecast, tried: Sequence[float], moves: BurstMoves) -> float:
    """The largest that is borne once everybody has yielded: an ordered yes and no, since more load is not borne better."""
    everybody = names_of(who_yields(judge.desired, workload))
    goal_fraction = judge.desired.risk.attainment_fraction
    ordered = sorted(set(tried))
    count = bisect(ordered, False, key=lambda factor: judge.outcome(workload, factor, everybody, moves).of(workload.name) < goal_fraction)
    return ordered[count - 1] if count else 0.0


class _Steps:
    """Writes down the steps of one entry, each with what it does once it and those before it are done."""

    def __init__(self, judge: BurstJudge, workload: WorkloadForecast, factor: float) -> None:
        self._judge = judge
        self._desired = judge.desired
        self._workload = workload
        self._factor = factor

    def of(self, choice: BurstChoice) -> Iterator[BurstStep]:
        """Who wakes at no cost, then all refusals, then for each that wakes those that make room for it, and itself."""
        free = choice.free_wakes
        moves, refused = NO_MOVES, names_of(choice.refused)
        for one in free:
            step = self._wake(one)
            moves = moves.after(step)
            yield self._judged(step, frozenset(), moves)
        for count, other in enumerate(choice.refused, start=1):
            step = BurstStep(
                workload=other.name,
                frees=tuple(_freed(self._desired, self._workload, other)),
                takes_s=ending_s(other),
                refused_rps=other.rate_rps - other.unserved_rps,
                attainment_fraction=0.0,
                late_rps={},
            )
            yield self._judged(step, names_of(choice.refused[:count]), moves)
        for one in choice.wakes[len(free) :]:
            for step in (*(self._yield(replica, one, refused) for replica in one.yields), self._wake(one)):
                moves = moves.after(step)
                yield self._judged(step, refused, moves)

    def _judged(self, step: BurstStep, refused: Set[str], moves: BurstMoves) -> BurstStep:
        after = self._judge.outcome(self._workload, self._factor, refused, moves)
        late_rps = _late_rps(self._desired, self._workload, after, refused)
        return step.model_copy(update={"attainment_fraction": after.of(self._workload.name), "late_rps": late_rps})

    def _yield(self, replica: Replica, one: WakeUp, refused: Set[str]) -> BurstStep:
        """Its other requests end first, which the refusals before did not take from it."""
        level = next((item.level for item in one.after.asleep if item.name == replica.name), None)
        own = [item for item in self._desired.workloads if item.served_name == replica.served_name]
        left = [item for item in own if item.name not in refused]
        part = sum(item.rate_rps for item in left) / (sum(item.rate_rps for item in own) or 1.0)
        held_mib = asleep_mib(replica) if level is not None else 0
        freed = FreedShare(
            replica=replica.name,
            rate_rps=replica.planned_rps * part,
            busy_fraction=replica.forecast.busy_fraction * part,
            memory_mib=replica.ledger.total_mib - held_mib,
        )
        return BurstStep(
            kind="stop" if level is None else "sleep",
            replica=replica.name,
            level=level,
            frees=(freed,),
            takes_s=max(map(ending_s, left), default=0.0) + (STOP_LIMIT_S if level is None else sleep_s(replica, level)),
            refused_rps=0.0,
            attainment_fraction=0.0,
            late_rps={},
        )

    def _wake(self, one: WakeUp) -> BurstStep:
        level = next(item.level for item in self._desired.asleep if item.name == one.sleeper.name)
        return BurstStep(
            kind="wake",
            replica=one.sleeper.name,
            memory_mib=one.sleeper.ledger.total_mib - asleep_mib(one.sleeper),
            frees=(),
            takes_s=wake_s(one.sleeper, level),
            refused_rps=0.0,
            attainment_fraction=0.0,
            late_rps={},
        )


def _freed(desired: Desired, workload: WorkloadForecast, other: WorkloadForecast) -> Iterator[FreedShare]:
    """Of each replica that serves the other one where the workload with the burst lives."""
    own = {seat for replica in desired.replicas if replica.served_name == workload.served_name for seat in seats_of(replica)}
    all_rps = sum(item.rate_rps for item in desired.workloads if item.served_name == other.served_name)
    part = other.rate_rps / all_rps
    for replica in desired.replicas:
        if replica.served_name == other.served_name and not own.isdisjoint(seats_of(replica)):
            busy_fraction = replica.forecast.busy_fraction * part
            yield FreedShare(replica=replica.name, rate_rps=replica.planned_rps * part, busy_fraction=busy_fraction)


def _late_rps(desired: Desired, workload: WorkloadForecast, outcome: BurstOutcome, refused: Set[str]) -> dict[str, float]:
    """Of others that keep fewer of their goals than the plan promises, the requests/s that miss them where they are worst off."""
    goal_fraction = desired.risk.attainment_fraction
    return {
        other.name: (other.rate_rps - other.unserved_rps) * (1.0 - outcome.of(other.name))
        for other in desired.workloads
        if other.name != workload.name and other.name not in refused and outcome.of(other.name) < goal_fraction
    }
