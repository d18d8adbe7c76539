"""Candidate replicas: every way worth considering to run one service group on one pool.

A candidate fixes everything an engine needs (GPUs, MIG profile, KV bytes) and states what it can carry:
capacity is the largest rate whose predicted latency at the sizing quantile meets the SLO at the worst-case share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.plan import Refusal
from planner.sizing.groups import ServiceGroup
from planner.sizing.kv_steps import stepped_bytes
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import TRICKLE_RPS, Sizing, Variant, variant_of, ways
from planner.spec.fleet import Sharing
from profiles.engine_versions import MIG_BY_UUID, lacking
from profiles.gpu_types import MigProfile
from profiles.latency.capacity import LoadForecast, forecast
from profiles.latency.steptime import StepTime
from profiles.memory.kv import has_cache
from profiles.memory.ledger import MemoryLedger
from profiles.settings import EngineSettings, UnsupportedError

MIB = 1024 * 1024

# A replica that has work less than a tenth of the time counts for a third of an active resident: with k=4 allowed, twelve
# of them are active more than four at once in 0.4 % of the time (binomial), with k=3 nine more than three in 0.8 %: inside the default
# sizing quantile of 99 %.
IDLE_BUSY_FRACTION = 0.10
IDLE_ACTIVE_PERMILLE = 334

# Demand is split over n, n+1, n+2 equal replicas, n being the fewest that can carry it: more, smaller replicas fill gaps.
EXTRA_SPLITS = 2

# Twenty halvings leave the rate known to one millionth.
BISECTION_STEPS = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate replica of a group on a site, with the ledger and the forecast that justify its capacity.

    active_permille and compute_permille are per joint window of the fleet: what it counts for of an active resident, and its part of the
    GPU's time.

    utilization_fraction is the --gpu-memory-utilization of an engine that runs and was started with another one than its ledger gives.
    """

    group: ServiceGroup
    site: Site
    mode: Sharing
    settings: EngineSettings
    mig: MigProfile | None
    max_active: int
    kv_bytes: int
    ledger: MemoryLedger
    step: StepTime
    capacity_rps: float
    active_permille: tuple[int, ...]
    compute_permille: tuple[int, ...]
    utilization_fraction: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.settings.tensor_parallel_size

    @property
    def share_fraction(self) -> float:
        """The part of a GPU's compute that is this replica's at worst."""
        return 1.0 / self.max_active

    def forecast(self, rate_rps: float, quantile: float) -> LoadForecast | None:
        """Latency and load at a rate, at the worst-case share."""
        return forecast(self.step, self.group.mix_at(rate_rps), rate_rps, self.share_fraction, self.settings, quantile)


def candidates(group: ServiceGroup, site: Site, sizing: Sizing) -> tuple[tuple[Candidate, ...], tuple[Refusal, ...]]:
    """All candidates of a group on a site, and for what is impossible the reason. All rests on measurements where it can."""
    found: list[Candidate] = []
    refused: list[Refusal] = []
    for way in ways(group, site):
        mode, settings, mig = way
        try:
            _check_version(settings, mig)
            variant = variant_of(way, group, site, sizing)
            found.extend(_time_shared(variant) if mode == "time_shared" else [_alone(variant)])
        except UnsupportedError as error:
            where = f"{site.pool} {mig.name}" if mig else site.pool
            refused.append(Refusal(pool=where, mode=mode, gpus=settings.tensor_parallel_size, reason=str(error)))
    return tuple(found), tuple(refused)


def _check_version(settings: EngineSettings, mig: MigProfile | None) -> None:
    """UnsupportedError for an engine too old to run in MIG instances."""
    reason = lacking(settings.engine_version, MIG_BY_UUID) if mig is not None else None
    if reason is not None:
        raise UnsupportedError(reason)


def _alone(variant: Variant) -> Candidate:
    """The replica that has a GPU, a block or a MIG slice to itself: all memory that is left becomes KV cache."""
    kv_bytes = kv_room_bytes(variant)
    return sized(variant, 1, kv_bytes, largest_rate(variant, 1, kv_bytes))


def kv_room_bytes(variant: Variant) -> int:
    """Memory left for KV cache on an otherwise empty GPU or slice, 0 for a model without one; UnsupportedError when no request fits."""
    memory_mib = variant.site.memory_mib(variant.mig)
    empty = variant.ledger(0)
    need_mib = math.ceil(variant.min_kv_bytes / MIB)
    if empty.total_mib + need_mib > memory_mib:
        raise UnsupportedError(
            f"needs {empty.total_mib + need_mib} MiB per GPU (weights {empty.weights_mib} MiB, "
            f"{variant.least_pool_holds} {need_mib} MiB), {memory_mib} MiB are usable"
        )
    if empty.start_peak_mib > memory_mib:
        raise UnsupportedError(f"needs {empty.start_peak_mib} MiB per GPU while it starts, {memory_mib} MiB are usable")
    return (memory_mib - empty.total_mib) * MIB if has_cache(variant.group.model.architecture) else 0


def largest_rate(variant: Variant, level: int, kv_bytes: int) -> float:
    """Largest rate that meets the SLO and whose requests in flight fit the KV pool at the quantile; UnsupportedError without any."""
    latency_rps = variant.largest_rps(level)
    if latency_rps <= 0.0:
        raise UnsupportedError(variant.slo_reason(level))
    if variant.only_when_idle(latency_rps, level):
        raise UnsupportedError(
            f"{variant.slo_reason(level)}: a replica meets it at no more than {latency_rps:.3g} requests/s, as long as fewer than "
            f"{1 - variant.quantile:.2g} of the requests meet another one; relax slo"
        )

    def fits(rate_rps: float) -> bool:
        need_bytes = variant.kv_need_bytes(rate_rps, level)
        return need_bytes is not None and need_bytes <= kv_bytes

    if fits(latency_rps):
        return latency_rps
    low_rps, high_rps = 0.0, latency_rps
    for _ in range(BISECTION_STEPS):
        middle_rps = (low_rps + high_rps) / 2
        low_rps, high_rps = (middle_rps, high_rps) if fits(middle_rps) else (low_rps, middle_rps)
    if low_rps <= 0.0:
        raise UnsupportedError(
            f"its longest requests need {math.ceil((variant.kv_need_bytes(TRICKLE_RPS, level) or 0) / MIB)} MiB of KV cache, "
            f"{kv_bytes // MIB} MiB are left; lower the lengths or max_model_len"
        )
    return low_rps


def _time_shared(variant: Variant) -> list[Candidate]:
    """Replicas for each number of residents active together, with just the KV cache that their part of the demand needs, in steps."""
    room_bytes = kv_room_bytes(variant)
    found: list[Candidate] = []
    reasons: list[str] = []
    for level in levels(variant.group, variant.site):
        try:
            fewest = fewest_replicas(variant, level, room_bytes)
        except UnsupportedError as error:
            reasons.append(str(error))
            continue
        for rate_rps in split_rates(variant, fewest):
            need_bytes = variant.kv_need_bytes(rate_rps, level)
            if need_bytes is not None and need_bytes <= room_bytes:
                kv_bytes = stepped_bytes(max(variant.min_kv_bytes, need_bytes), room_bytes)
                found.append(sized(variant, level, kv_bytes, rate_rps))
    if not found:
        raise UnsupportedError(reasons[0])
    return found


def levels(group: ServiceGroup, site: Site) -> range:
    """How many may be active together beside a time-shared replica: one, itself, only where its demand leaves windows to others."""
    return range(1 if 0.0 in group.windows_rps else 2, site.max_active_residents + 1)


def fewest_replicas(variant: Variant, level: int, room_bytes: int) -> int:
    """The fewest replicas of one size that carry the demand and are as many as are asked for; UnsupportedError when none can."""
    return max(1, variant.group.min_replicas, math.ceil(variant.group.peak_rps / largest_rate(variant, level, room_bytes)))


def split_rates(variant: Variant, fewest: int) -> list[float]:
    """The parts that the demand is split into: by the fewest replicas and a few more."""
    return [variant.group.peak_rps / count for count in range(fewest, fewest + EXTRA_SPLITS + 1)]


def sized(alone: Variant, level: int, kv_bytes: int, rate_rps: float) -> Candidate:
    """The candidate with a KV pool of so many bytes that carries so much."""
    variant = alone.within(kv_bytes)
    parts = [window_rps / variant.group.peak_rps for window_rps in variant.group.windows_rps]
    busy_fractions = [_busy_fraction(variant, rate_rps * part, level) for part in parts]
    return Candidate(
        group=variant.group,
        site=variant.site,
        mode=variant.mode,
        settings=variant.settings,
        mig=variant.mig,
        max_active=level,
        kv_bytes=kv_bytes,
        ledger=variant.ledger(kv_bytes),
        step=variant.step,
        capacity_rps=rate_rps,
        active_permille=tuple(_active_permille(busy_fraction, level) for busy_fraction in busy_fractions),
        # k residents that are always active fill the GPU exactly: rounding up must not turn k times 1/k into more than all
        compute_permille=tuple(min(1000 // level, math.ceil(1000 * busy_fraction / level)) for busy_fraction in busy_fractions),
    )


def _busy_fraction(variant: Variant, rate_rps: float, level: int) -> float:
    """Share of time with work at the worst-case share: a station like M/G/infinity with N requests in the mean is empty exp(-N) of it."""
    if rate_rps <= 0.0:
        return 0.0
    load = variant.load(rate_rps, level)
    return 1.0 if load is None else -math.expm1(-load.running_requests)


def _active_permille(busy_fraction: float, level: int) -> int:
    """What a replica that is busy for so much of a window counts for; where one may be active at a time, no other is then."""
    if busy_fraction <= 0.0:
        return 0
    return IDLE_ACTIVE_PERMILLE if level > 1 and busy_fraction <= IDLE_BUSY_FRACTION else 1000
