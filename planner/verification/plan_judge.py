"""A whole plan judged GPU by GPU: which part of each model's requests meets its goals when it gets the load it was planned for."""

from __future__ import annotations

import math
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.plan import Attainment, Desired, Replica, WorkloadForecast, is_shared, window_part
from planner.risk import Risk
from planner.simulation.offered_load import OfferedLoad
from planner.simulation.plan_input import PlannedWorld
from planner.simulation.simulation_input import SimulatedEngine
from planner.simulation.traffic_metrics import WorkloadRow
from planner.verification.gpu_judge import JudgedResident, JudgeEffort, bears, judged
from planner.verification.stress import NOMINAL, Stress, interference, slow_steps, stresses
from profiles.latency.interference import measured_factor
from profiles.latency.mix import RequestMix
from profiles.store.measurements import Measurements

# Requests of all GPUs together, under each stress: what a plan costs to judge does not grow with the fleet. Each GPU gets its part of
# them, but never fewer than tell 99 % from 97 %.
_ALL_REQUESTS, _LEAST_REQUESTS = 20_000, 800

# Windows in which a GPU is judged: those in which its residents are most active, and of residents' peaks the busiest. Nothing is known of
# a resident in windows in which it has little of its load: then its own peak is one more.
_MOST_WINDOWS = 2
_LEAST_PART = 0.5

# Sets of requests and step times: the first judges every plan, the others those that rely on luck.
_SEEDS = (0, 1)

# Of the misses that the goal allows, so many are kept for chance when less room than sizing asks for is to hold.
_KEPT_FOR_CHANCE_FRACTION = 0.3

# Multiples of the planned load that are tried.
KEPT_LOAD_FACTORS = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class GpuSeat:
    """A replica, its engine, and the forecasts of the workloads that it serves."""

    replica: Replica
    engine: SimulatedEngine
    workloads: tuple[WorkloadForecast, ...]


class PlanJudge:
    """Judges plans of one fleet one after the other: a GPU that was judged before, with the same engines and loads, is not judged again."""

    def __init__(self, risk: Risk = Risk(), measurements: Measurements = Measurements()) -> None:  # noqa: B008 (both frozen)
        """Where measurements tell what neighbours cost, they count instead of the risk."""
        self._risk = risk
        self._measurements = measurements
        self._rows: dict[tuple[object, ...], tuple[WorkloadRow, ...]] = {}
        self._borne: dict[tuple[object, ...], bool] = {}

    def attainments(self, desired: Desired, world: PlannedWorld) -> dict[str, tuple[Attainment, ...]]:
        """Per served model its attainment under each stress: the worst of its GPUs, of their busiest windows and of its priorities.

        Nothing for models without a replica.
        """
        worst: dict[tuple[str, str], WorkloadRow] = {}
        for gpu in self._gpus(desired, world):
            for stress in (NOMINAL, *gpu.stresses):
                for name, row in ((gpu.served[row.workload], row) for load in gpu.loads for row in self._judged(gpu, load, stress)):
                    known = worst.get((name, stress.name))
                    if row.requests and (known is None or (_fraction(row), -row.requests) < (_fraction(known), -known.requests)):
                        worst[name, stress.name] = row
        order = [stress.name for stress in (NOMINAL, slow_steps(self._risk), interference(self._risk))]
        return {
            name: tuple(_attainment(worst[name, stress], stress) for stress in order if (name, stress) in worst)
            for name in sorted({served_name for served_name, _ in worst})
        }

    def kept_load_factors(self, desired: Desired, world: PlannedWorld) -> dict[str, float]:
        """Per served model the largest of KEPT_LOAD_FACTORS that all its GPUs bear, 0.0 if none.

        Looked for in each window under the stress that is worst there at the planned load.
        """
        found: dict[str, float] = {}
        for gpu in self._gpus(desired, world):
            count = len(KEPT_LOAD_FACTORS)
            for load in gpu.loads:
                count = self._borne_factors(gpu, load, count)
            factor = KEPT_LOAD_FACTORS[count - 1] if count else 0.0
            for name in gpu.names:
                found[name] = min(found.get(name, factor), factor)
        return found

    def _borne_factors(self, gpu: _Gpu, load: tuple[JudgedResident, ...], most: int) -> int:
        """How many of the first factors of KEPT_LOAD_FACTORS a GPU bears: an ordered yes and no, since more load is not borne better."""

        def worst(stress: Stress) -> float:
            return min((_fraction(row) for row in self._judged(gpu, load, stress) if row.requests), default=1.0)

        stress = min(gpu.stresses, key=worst)
        return bisect(KEPT_LOAD_FACTORS[:most], False, key=lambda factor: not self._bears(gpu, load, stress, factor))

    def crowded(self, desired: Desired, world: PlannedWorld, load_factor: float) -> frozenset[str]:
        """Models on GPUs where somebody does not surely keep its goals, or misses them under load_factor times the load.

        Any of them may be too many there. The best of several plans was lucky, too: two sets of requests are asked.
        """
        return frozenset(
            name
            for gpu in self._gpus(desired, world)
            if not all(self._holds(gpu, load, stress, load_factor) for load in gpu.loads for stress in gpu.stresses)
            for name in gpu.names
        )

    def _holds(self, gpu: _Gpu, load: tuple[JudgedResident, ...], stress: Stress, load_factor: float) -> bool:
        """Nobody misses its goals with more load, by any set of requests; at the planned load all together have misses to spare."""
        if not all(self._bears(gpu, load, stress, load_factor, seed=seed) for seed in _SEEDS):
            return False
        allowed_fraction = (1.0 - self._risk.attainment_fraction) * (1.0 - _KEPT_FOR_CHANCE_FRACTION)
        for rows in zip(*(self._judged(gpu, load, stress, seed=seed) for seed in _SEEDS), strict=True):
            requests = sum(row.requests for row in rows)
            if requests - sum(row.attained for row in rows) > allowed_fraction * requests:
                return False
        return True

    def _judged(self, gpu: _Gpu, load: tuple[JudgedResident, ...], stress: Stress, *, seed: int = _SEEDS[0]) -> tuple[WorkloadRow, ...]:
        key = (gpu.kind, _rates_rps(load), stress, gpu.effort, seed)
        if key not in self._rows:
            self._rows[key] = judged(load, stress, gpu.effort, seed=seed).workloads
        return self._rows[key]

    def _bears(self, gpu: _Gpu, load: tuple[JudgedResident, ...], stress: Stress, load_factor: float, *, seed: int = _SEEDS[0]) -> bool:
        key = (gpu.kind, _rates_rps(load), stress, gpu.effort, load_factor, seed)
        if key not in self._borne:
            goal_fraction = self._risk.attainment_fraction
            self._borne[key] = bears(load, stress, gpu.effort, attainment_fraction=goal_fraction, load_factor=load_factor, seed=seed)
        return self._borne[key]

    def _gpus(self, desired: Desired, world: PlannedWorld) -> Iterator[_Gpu]:
        """Each kind of GPU in use, with the loads of its busiest windows."""
        gpus = list(distinct_gpus(desired, world))
        effort = JudgeEffort(most_requests=max(_LEAST_REQUESTS, _ALL_REQUESTS // max(1, len(gpus))))
        for kind, seats in gpus:
            loads = [
                tuple(resident for seat in seats for resident in _residents(desired, seat, window)) for window in _windows(desired, seats)
            ]
            names = tuple(seat.replica.served_name for seat in seats)
            yield _Gpu(kind, names, tuple(loads), effort, self._stresses(desired, seats))

    def _stresses(self, desired: Desired, seats: Sequence[GpuSeat]) -> tuple[Stress, ...]:
        """Those of the risk; neighbours that were all measured cost what was measured, under the same name."""
        first = seats[0].replica
        gpu_type = next(gpu.gpu_type for gpu in desired.gpus if gpu.node == first.node and gpu.index in first.gpus)
        factor = self._measured_factor(gpu_type, seats)
        return tuple(
            replace(stress, interference_factor=factor) if factor is not None and stress.step_quantile is None else stress
            for stress in stresses(len(seats), self._risk)
        )

    def _measured_factor(self, gpu_type: str, seats: Sequence[GpuSeat]) -> float | None:
        """The largest that any resident pays for another, None unless every pair was measured."""
        models, mode = [seat.replica.catalogue_model for seat in seats], seats[0].replica.mode
        sharing = mode if is_shared(mode) else "time_shared"
        found = [
            measured_factor(self._measurements, model, other, gpu_type, sharing)
            for index, model in enumerate(models)
            for other in models[:index] + models[index + 1 :]
        ]
        known = [factor for factor in found if factor is not None]
        return max(known) if known and len(known) == len(found) else None


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU, block or slice: what tells it from others, its served models, their loads in each window, how it is judged."""

    kind: object
    names: tuple[str, ...]
    loads: tuple[tuple[JudgedResident, ...], ...]
    effort: JudgeEffort
    stresses: tuple[Stress, ...]

    @property
    def served(self) -> dict[str, str]:
        """The served model of each name in the rows of a simulation."""
        return {resident.load.workload: resident.load.served_name for load in self.loads for resident in load}


def _rates_rps(load: Sequence[JudgedResident]) -> tuple[float, ...]:
    return tuple(resident.load.rate_rps for resident in load)


def falls_short(found: Sequence[Attainment], goal_fraction: float) -> bool:
    """Whether the simulation denies that so many requests meet their goals: the whole interval of some stress lies below it."""
    return any(item.high_fraction < goal_fraction for item in found)


def keeps(found: Sequence[Attainment], goal_fraction: float) -> bool:
    """Whether so many requests or more meet their goals in the simulation under every stress."""
    return all(item.fraction >= goal_fraction for item in found)


def _attainment(row: WorkloadRow, stress: str) -> Attainment:
    return Attainment(
        stress=stress,
        requests=row.requests,
        fraction=_fraction(row),
        low_fraction=row.attainment_low_fraction or 0.0,
        high_fraction=1.0 if row.attainment_high_fraction is None else row.attainment_high_fraction,
    )


def _fraction(row: WorkloadRow) -> float:
    return 1.0 if row.attainment_fraction is None else row.attainment_fraction


def distinct_gpus(desired: Desired, world: PlannedWorld) -> Iterator[tuple[object, list[GpuSeat]]]:
    """What tells it from others, and the residents, of each GPU, block or slice in use; of those that are alike the first."""
    engines = {engine.name: engine for engine in world.engines}
    serving: defaultdict[str, list[WorkloadForecast]] = defaultdict(list)
    for workload in desired.workloads:
        serving[workload.served_name].append(workload)
    gpu_types = {(gpu.node, gpu.index): gpu.gpu_type for gpu in desired.gpus}
    together: defaultdict[str, list[GpuSeat]] = defaultdict(list)
    for replica in desired.replicas:
        if serving[replica.served_name] and replica.planned_rps > 0:
            seat = GpuSeat(replica, engines[replica.name], tuple(serving[replica.served_name]))
            together[seat.engine.gpu_key].append(seat)
    seen: set[tuple[object, ...]] = set()
    for _, seats in sorted(together.items()):
        alike = tuple(sorted(_kind(seat.replica, gpu_types) for seat in seats))
        if alike not in seen:
            seen.add(alike)
            yield alike, sorted(seats, key=lambda seat: _kind(seat.replica, gpu_types))


def _kind(replica: Replica, gpu_types: Mapping[tuple[str, int], str]) -> tuple[str, ...]:
    args = replica.args.model_copy(update={"host": "", "port": 1024})
    profile = replica.mig.profile if replica.mig is not None else ""
    return (replica.served_name, gpu_types[replica.node, replica.gpus[0]], profile, args.model_dump_json(), f"{replica.planned_rps:.9g}")


def _windows(desired: Desired, seats: Sequence[GpuSeat]) -> list[int]:
    """Windows that a GPU is judged in; -1 stands for the only one that a plan without windows has.

    Those whose GPU counts as theirs all the time are equally active in all windows: there the part of its peak that each has decides.
    """
    if not desired.windows:
        return [-1]
    peaks = {seat.replica.served_name: busiest_window(desired, seat.replica.served_name) for seat in seats}

    def quiet(window: int) -> tuple[float, float, int]:
        active = sum(seat.replica.forecast.active_fractions[window] for seat in seats)
        return -active, -sum(window_part(desired, name, window) for name in sorted(peaks)), window

    busiest = min(range(len(desired.windows)), key=quiet)
    found = [busiest, *sorted({*peaks.values()} - {busiest}, key=quiet)][:_MOST_WINDOWS]
    for name, peak in sorted(peaks.items(), key=lambda item: quiet(item[1])):
        if max(window_part(desired, name, window) for window in found) < _LEAST_PART:
            found.append(peak)
    return found


def busiest_window(desired: Desired, served_name: str) -> int:
    """The first window in which a model has most load; -1 where there are no windows."""
    return -1 if not desired.windows else max(range(len(desired.windows)), key=lambda window: window_part(desired, served_name, window))


def _residents(desired: Desired, seat: GpuSeat, window: int) -> Iterator[JudgedResident]:
    """A replica with its planned load, judged as it was planned: by the tightest goals among its workloads.

    Where it takes the most urgent requests first, those of each priority are judged by themselves, with their part of the load.
    """
    name = seat.replica.served_name
    load = OfferedLoad(
        workload=name,
        served_name=name,
        rate_rps=seat.replica.planned_rps * window_part(desired, name, window),
        mix=mix_of(seat.workloads[0]),
        max_model_len=seat.replica.args.max_model_len,
    )
    if seat.replica.args.scheduling_policy != "priority":
        yield JudgedResident(seat.engine, load, *goals_s(seat.workloads))
        return
    all_rps = sum(workload.rate_rps for workload in seat.workloads)
    known = {item.workload: item.priority for item in seat.replica.priorities}
    for priority in sorted({known.get(workload.name, 0) for workload in seat.workloads}):
        alike = [workload for workload in seat.workloads if known.get(workload.name, 0) == priority]
        part = sum(workload.rate_rps for workload in alike) / all_rps
        own = replace(load, workload=f"{name} at priority {priority}", rate_rps=load.rate_rps * part, priority=priority)
        yield JudgedResident(seat.engine, own, *goals_s(alike))


def goals_s(workloads: Sequence[WorkloadForecast]) -> tuple[float, float]:
    """The tightest goals of any of them, for TTFT and TPOT; infinite where nothing is generated."""
    tpot_goals_s = [workload.tpot_slo_s for workload in workloads if workload.tpot_slo_s is not None]
    return min(workload.ttft_slo_s for workload in workloads), min(tpot_goals_s, default=math.inf)


def mix_of(workload: WorkloadForecast) -> RequestMix:
    """The requests of a workload's model, as the plan has them."""
    output_tokens = max(1.0, workload.output_tokens)
    return RequestMix(
        workload.input_tokens,
        output_tokens,
        max(workload.input_tokens, workload.input_p99_tokens),
        max(output_tokens, workload.output_p99_tokens),
        burstiness=workload.burstiness,
        prefix_hit_fraction=workload.prefix_hit_fraction,
    )
