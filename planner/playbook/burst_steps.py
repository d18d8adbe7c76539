"""Which less urgent workloads are refused, in which order, so that a workload with a burst keeps its goals."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence, Set

from planner.plan import Burst, BurstStep, Desired, FreedShare, Replica, WorkloadForecast
from planner.playbook.burst_judge import BurstJudge, BurstOutcome
from planner.simulation.plan_input import PlannedWorld
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
    """The steps for one workload and factor: none where it keeps its goals as it is, or where refusing others does not help.

    Where they are not enough, smaller factors of those to be tried are.
    """
    goal_fraction = judge.desired.risk.attainment_fraction
    before = judge.outcome(workload, factor, frozenset())
    chosen: list[WorkloadForecast] = []
    if before.of(workload.name) < goal_fraction:
        chosen = _needed(judge, workload, factor, _enough(judge, workload, factor))
    steps = tuple(_step(judge, workload, factor, chosen[: count + 1], item) for count, item in enumerate(chosen))
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
        else _kept_load_factor(judge, workload, [known for known in tried if 1.0 <= known < factor]),
    )


def who_yields(desired: Desired, workload: WorkloadForecast) -> tuple[WorkloadForecast, ...]:
    """Workloads beside it that are less urgent, who yields first first: the least urgent, and among equals those on its own engines.

    Not models that the disruption budget protects, nor those whose requests are told apart by their length: a refusal of both parts would
    not be one.
    """
    neighbours = neighbour_models(desired, workload.served_name)
    kept = {workload.served_name for workload in desired.workloads if workload.name in _split(desired)}
    kept |= set(desired.rules.disruption_budget.protected)
    found = [
        other
        for other in desired.workloads
        if other.priority < workload.priority and other.served_name in neighbours and other.served_name not in kept and other.rate_rps > 0
    ]
    return tuple(sorted(found, key=lambda other: (other.priority, other.served_name != workload.served_name, other.name)))


def neighbour_models(desired: Desired, served_name: str) -> frozenset[str]:
    """Models with a replica on a GPU, or a slice, where this one has one too; itself among them."""
    seats: dict[object, set[str]] = {}
    for replica in desired.replicas:
        for seat in _seats(replica):
            seats.setdefault(seat, set()).add(replica.served_name)
    return frozenset(name for names in seats.values() if served_name in names for name in names)


def _seats(replica: Replica) -> list[object]:
    """Its GPUs, or its slice of one."""
    return [(replica.node, gpu, replica.mig) for gpu in replica.gpus]


def _split(desired: Desired) -> frozenset[str]:
    parts = {name for split in desired.prompt_splits if split.longer is not None for name in (split.workload, split.long_workload)}
    return frozenset(name for name in parts if name)


def _enough(judge: BurstJudge, workload: WorkloadForecast, factor: float) -> list[WorkloadForecast]:
    """Those that yield, one after another, until the workload keeps its goals or nobody is left."""
    goal_fraction = judge.desired.risk.attainment_fraction
    chosen: list[WorkloadForecast] = []
    for other in who_yields(judge.desired, workload):
        chosen.append(other)
        if judge.outcome(workload, factor, _names(chosen)).of(workload.name) >= goal_fraction:
            break
    return chosen


def _needed(judge: BurstJudge, workload: WorkloadForecast, factor: float, chosen: list[WorkloadForecast]) -> list[WorkloadForecast]:
    """Without those that do not help; the more urgent are spared first."""
    goal_fraction = judge.desired.risk.attainment_fraction

    def kept_fraction(of: Sequence[WorkloadForecast]) -> float:
        return judge.outcome(workload, factor, _names(of)).of(workload.name)

    # where even all of them do not bring it to its goal, as many misses more as the goal allows are no difference
    most_fraction = kept_fraction(chosen)
    enough_fraction = goal_fraction if most_fraction >= goal_fraction else most_fraction - (1.0 - goal_fraction)
    for other in reversed(chosen):
        fewer = [item for item in chosen if item is not other]
        if kept_fraction(fewer) >= enough_fraction:
            chosen = fewer
    return chosen


def _kept_load_factor(judge: BurstJudge, workload: WorkloadForecast, tried: Sequence[float]) -> float:
    """The largest that is borne once everybody has yielded: an ordered yes and no, since more load is not borne better."""
    everybody = _names(who_yields(judge.desired, workload))
    goal_fraction = judge.desired.risk.attainment_fraction
    ordered = sorted(set(tried))
    count = bisect(ordered, False, key=lambda factor: judge.outcome(workload, factor, everybody).of(workload.name) < goal_fraction)
    return ordered[count - 1] if count else 0.0


def _step(
    judge: BurstJudge, workload: WorkloadForecast, factor: float, done: Sequence[WorkloadForecast], other: WorkloadForecast
) -> BurstStep:
    after = judge.outcome(workload, factor, _names(done))
    return BurstStep(
        workload=other.name,
        frees=tuple(_freed(judge.desired, workload, other)),
        takes_s=ending_s(other),
        refused_rps=other.rate_rps - other.unserved_rps,
        attainment_fraction=after.of(workload.name),
        late_rps=_late_rps(judge.desired, workload, after, _names(done)),
    )


def _freed(desired: Desired, workload: WorkloadForecast, other: WorkloadForecast) -> Iterator[FreedShare]:
    """Of each replica that serves the other one where the workload with the burst lives."""
    own = {seat for replica in desired.replicas if replica.served_name == workload.served_name for seat in _seats(replica)}
    all_rps = sum(item.rate_rps for item in desired.workloads if item.served_name == other.served_name)
    part = other.rate_rps / all_rps
    for replica in desired.replicas:
        if replica.served_name == other.served_name and not own.isdisjoint(_seats(replica)):
            busy_fraction = replica.forecast.busy_fraction * part
            yield FreedShare(replica=replica.name, rate_rps=replica.planned_rps * part, busy_fraction=busy_fraction)


def ending_s(workload: WorkloadForecast) -> float:
    """Seconds until a long request of a workload has ended that has just come."""
    return (workload.ttft_s or 0.0) + max(workload.output_tokens, workload.output_p99_tokens) * (workload.tpot_s or 0.0)


def _late_rps(desired: Desired, workload: WorkloadForecast, outcome: BurstOutcome, refused: Set[str]) -> dict[str, float]:
    """Of others that keep fewer of their goals than the plan promises, the requests/s that miss them where they are worst off."""
    goal_fraction = desired.risk.attainment_fraction
    return {
        other.name: (other.rate_rps - other.unserved_rps) * (1.0 - outcome.of(other.name))
        for other in desired.workloads
        if other.name != workload.name and other.name not in refused and outcome.of(other.name) < goal_fraction
    }


def _names(workloads: Sequence[WorkloadForecast]) -> frozenset[str]:
    return frozenset(workload.name for workload in workloads)
