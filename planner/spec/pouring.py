"""When the volumes of a fleet are worked on: where its other workloads leave most of the GPUs idle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from planner.demand.joint import Offered, Stretch, offered
from planner.demand.volumes import Pouring, Volume, Work, inside, pour
from planner.demand.windows import CLOCK, DemandProfile, DemandWindow, windowed_demand
from planner.spec.clock import DAY_S, WEEK_S
from planner.spec.fleet import FleetPool, Workload
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime
from profiles.settings import EngineSettings, UnsupportedError

# Requests that share the reading of the weights in a decode step: a moderately full engine. It only weighs workloads against each other.
_BATCH_REQUESTS = 32
# Digits of a planned rate: what arithmetic adds beyond them would cut one stretch into several.
_RATE_DIGITS = 9


def poured(workloads: tuple[Workload, ...], pools: Sequence[FleetPool]) -> tuple[Workload, ...]:
    """The workloads with a windowed demand for each volume, which is the whole of it, inside its time; all others as they are.

    Work is weighed in GPU seconds on the first pool that a workload may use. On the clock's timeline it is known when others ask for
    what; others count with their largest, and so do windows that never repeat. Volumes meet all workloads that may use one of their pools.
    """
    by_deadline = sorted((item for item in workloads if item.volume is not None), key=lambda item: (_volume(item).deadline_s, item.name))
    if not by_deadline:
        return workloads
    others = [item for item in workloads if item.volume is None]
    weekly = any(_period_s(item.demand) == WEEK_S for item in others) or any(_volume(item).every_s == WEEK_S for item in by_deadline)
    edges_s = _edges_s(others, by_deadline, WEEK_S if weekly else DAY_S)
    stretches = [Stretch(CLOCK, *pair) for pair in pairwise(edges_s)]
    speeds = {item.name: _Speed(item, pools) for item in workloads}
    asked = {item.name: [speeds[item.name].work(_offered(item, stretch)) for stretch in stretches] for item in others}
    pourings = [
        Pouring(
            name=item.name,
            work_s=_volume(item).requests * speeds[item.name].request_s,
            spans=tuple(inside(edges_s, start_s, end_s) for start_s, end_s in _volume(item).times(edges_s[-1])),
            below=tuple(sum(column) for column in zip(*(asked[other.name] for other in _meets(item, others)), strict=True))
            or (0.0,) * len(stretches),
            rivals=tuple(other.name for other in _meets(item, by_deadline) if other is not item),
        )
        for item in by_deadline
    ]
    work = pour(pourings, [item.end_s - item.start_s for item in stretches])
    return tuple(
        item
        if item.volume is None
        else item.model_copy(update={"demand": _demand(item.volume, stretches, work[item.name] / speeds[item.name].request_s)})
        for item in workloads
    )


def _volume(workload: Workload) -> Volume:
    assert workload.volume is not None
    return workload.volume


def _period_s(demand: DemandProfile) -> float | None:
    """After how long it repeats itself on the clock; None where it is not known when on the clock it asks for what."""
    return demand.every_s if demand.timeline == CLOCK and demand.every_s in (DAY_S, WEEK_S) else None


def _edges_s(others: Iterable[Workload], volumes: Iterable[Workload], cycle_s: float) -> list[float]:
    """Where a stretch begins: wherever a window or the time for a volume begins or ends."""
    edges_s = {0.0, cycle_s}
    for workload in others:
        period_s = _period_s(workload.demand)
        if period_s is not None:
            edges = [edge_s for window in workload.demand.windows for edge_s in (window.start_s, window.end_s)]
            edges_s.update(edge_s + time * period_s for time in range(int(cycle_s / period_s)) for edge_s in edges)
    for workload in volumes:
        edges_s.update(edge_s % cycle_s for times in _volume(workload).times(cycle_s) for edge_s in times)
    return sorted(edges_s)


def _offered(workload: Workload, stretch: Stretch) -> Offered:
    return offered(workload.demand, stretch if _period_s(workload.demand) else Stretch(None, stretch.start_s, stretch.end_s))


def _meets(volume: Workload, others: Sequence[Workload]) -> list[Workload]:
    """Those that may use a pool that a volume may use, by name."""
    return sorted(
        (item for item in others if not item.pin or not volume.pin or set(item.pin) & set(volume.pin)), key=lambda item: item.name
    )


class _Speed:
    """How long requests of a workload keep a GPU busy, about: enough to weigh workloads against each other.

    The weights are read once for a batch of answers, each of their tokens reads the context, and each computed token costs its products.
    A workload that no pool can run has no replicas, so nobody waits for it.
    """

    def __init__(self, workload: Workload, pools: Sequence[FleetPool]) -> None:
        self._workload = workload
        self._step = _step(workload, pools)
        volume = workload.volume
        request = Offered() if volume is None else Offered(1.0, volume.input.mean_tokens, volume.output.mean_tokens)
        self.request_s = self.work(request) or 1.0

    def work(self, asked: Offered) -> float:
        """GPU seconds per second."""
        if self._step is None or not asked.rate_rps:
            return 0.0
        step, answers = self._step, 0.0 if self._workload.model.pooling else asked.output_tokens_per_s
        computed = (1 - self._workload.prefix_hit_fraction) * asked.input_tokens_per_s + answers
        context_tokens = (asked.input_tokens_per_s + answers / 2) / asked.rate_rps
        whole_step_s = step.base_s + step.expert_s
        return computed * step.per_token_s + answers * (whole_step_s / _BATCH_REQUESTS + context_tokens * step.per_kv_token_s)


def _step(workload: Workload, pools: Sequence[FleetPool]) -> StepTime | None:
    """Step times on the first pool that a workload may use and whose GPUs can run it."""
    model = workload.model
    settings = EngineSettings(
        engine_version=model.engine_version, dtype=model.dtype, quantization=model.quantization, kv_cache_dtype=model.kv_cache_dtype
    )
    for pool in pools:
        if workload.pin and pool.name not in workload.pin:
            continue
        try:
            return predict(model.architecture, pool.gpu, settings)
        except UnsupportedError:
            continue
    return None


def _demand(volume: Volume, stretches: Sequence[Stretch], rates_rps: Work) -> DemandProfile:
    """A windowed demand; neighbours with one rate are one window."""
    windows: list[DemandWindow] = []
    for stretch, exact_rps in zip(stretches, rates_rps.tolist(), strict=True):
        rate_rps = float(f"{exact_rps:.{_RATE_DIGITS}g}")
        if windows and (windows[-1].end_s, windows[-1].rate_rps) == (stretch.start_s, rate_rps):
            windows[-1] = windows[-1].model_copy(update={"end_s": stretch.end_s})
        elif rate_rps:
            windows.append(
                DemandWindow(start_s=stretch.start_s, end_s=stretch.end_s, rate_rps=rate_rps, input=volume.input, output=volume.output)
            )
    return windowed_demand(windows).model_copy(update={"every_s": stretches[-1].end_s})
