"""The residents of one GPU under their load: how many requests of each meet their goals, by the step core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.simulation.offered_load import OfferedLoad, offered_requests
from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.traffic_metrics import Summary, WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from planner.verification.stress import Stress

# A simulation of this part of the time comes first: an overload shows in it, and costs a fraction of the whole.
_GLANCE_FRACTION = 0.25


@dataclass(frozen=True, slots=True)
class JudgedResident:
    """A workload on a GPU: the engine that serves it, its load there, and its goals in seconds (infinite: none)."""

    engine: SimulatedEngine
    load: OfferedLoad
    ttft_goal_s: float
    tpot_goal_s: float


@dataclass(frozen=True, slots=True)
class JudgeEffort:
    """How long a GPU is watched.

    Until rarest_requests of the workload with the fewest are expected, but no longer than most_requests of all together take; though never
    shorter than goals_per_horizon times the longest TTFT goal: with goals of half a minute an overload shows only after minutes. A load
    1 / goals_per_horizon above what the GPU bears may still go unseen.
    """

    rarest_requests: int = 400
    most_requests: int = 12_000
    goals_per_horizon: float = 4.0

    def horizon_s(self, residents: Sequence[JudgedResident]) -> float:
        """Seconds of arrivals."""
        rates_rps = [resident.load.rate_rps for resident in residents if resident.load.rate_rps]
        if not rates_rps:
            return 0.0
        wanted_s = min(self.rarest_requests / min(rates_rps), self.most_requests / sum(rates_rps))
        patient_s = max((resident.ttft_goal_s for resident in residents if resident.ttft_goal_s < math.inf), default=0.0)
        return max(wanted_s, self.goals_per_horizon * patient_s)


def judged(residents: Sequence[JudgedResident], stress: Stress, effort: JudgeEffort, *, load_factor: float = 1.0, seed: int = 0) -> Summary:
    """Requests, goals met and latencies of each workload at load_factor times its load; the same seed gives the same result.

    Raises ValueError when the residents are not on one GPU, when two have the same workload, or when two engines have the same served name.
    """
    residents = loaded_by(residents, load_factor)
    return _run(residents, _requests(residents, effort, seed), stress, seed)


def bears(
    residents: Sequence[JudgedResident],
    stress: Stress,
    effort: JudgeEffort,
    *,
    attainment_fraction: float,
    load_factor: float,
    seed: int = 0,
) -> bool:
    """Whether every resident keeps attainment_fraction of its requests within its goals; errors as judged().

    A run over the first quarter of the time comes first. When it alone has more misses than the whole time may have, the answer is no:
    later requests do not help earlier ones.
    """
    residents = loaded_by(residents, load_factor)
    requests = _requests(residents, effort, seed)
    counts = dict.fromkeys((resident.load.workload for resident in residents), 0)
    for request in requests:
        counts[request.workload] += 1
    allowed = {name: math.floor((1 - attainment_fraction) * count + 1e-9) for name, count in counts.items()}
    glance_s = _GLANCE_FRACTION * effort.horizon_s(residents)
    for seen in ([request for request in requests if request.arrival_s < glance_s], requests):
        if any(_misses(row) > allowed[row.workload] for row in _run(residents, seen, stress, seed).workloads):
            return False
    return True


def loaded_by(residents: Sequence[JudgedResident], load_factor: float) -> tuple[JudgedResident, ...]:
    """The residents with the same multiple of each one's rate."""
    return tuple(replace(item, load=replace(item.load, rate_rps=item.load.rate_rps * load_factor)) for item in residents)


def _misses(row: WorkloadRow) -> int:
    return row.requests - row.attained


def _requests(residents: Sequence[JudgedResident], effort: JudgeEffort, seed: int) -> tuple[SimulatedRequest, ...]:
    return offered_requests([resident.load for resident in residents], effort.horizon_s(residents), seed)


def _run(residents: Sequence[JudgedResident], requests: Sequence[SimulatedRequest], stress: Stress, seed: int) -> Summary:
    engines = {resident.engine.name: resident.engine for resident in residents}
    serving = {resident.load.served_name: resident.engine.name for resident in residents}
    keys = sorted({engine.gpu_key for engine in engines.values()})
    goals = {resident.load.workload: (resident.ttft_goal_s, resident.tpot_goal_s) for resident in residents}
    if len(keys) != 1:
        raise ValueError(f"the residents are on {len(keys)} GPUs ({', '.join(keys)}); judge one at a time")
    if len(goals) < len(residents):
        raise ValueError("two residents have the same workload; name each once")
    if any(serving[resident.load.served_name] != resident.engine.name for resident in residents):
        raise ValueError("two engines have the same served name, and nothing says how requests are split over them")
    result = simulate(
        list(engines.values()),
        [SimulatedGpu(keys[0], ((keys[0], 1.0),))],
        requests,
        {served_name: ((name, 1),) for served_name, name in serving.items()},
        seed=seed,
        step_quantile=stress.step_quantile,
        interference_factor=stress.interference_factor,
    )
    return summarise(result.records, goals)
