"""Candidate replicas: every way worth considering to run one service group on one pool.

A candidate fixes everything an engine needs (GPUs, MIG profile, KV bytes) and states what it can carry:
capacity is the largest rate whose predicted latency at the sizing quantile meets the SLO at the worst-case share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.plan import Refusal
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.spec.fleet import Sharing
from profiles.engine_versions import MIG_BY_UUID, lacking
from profiles.gpu_types import MigProfile, settings_on
from profiles.latency.capacity import LoadForecast, capacity_rps, forecast
from profiles.latency.mix import RequestMix
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime
from profiles.memory.kv import kv_bytes_for_tokens
from profiles.memory.ledger import MemoryLedger, memory_ledger
from profiles.memory.measured import MeasuredConstants, measured_constants
from profiles.memory.pool import largest_max_num_seqs, least_kv_bytes, least_pool_holds
from profiles.settings import EngineSettings, UnsupportedError
from profiles.store.measurements import Measurements

MIB = 1024 * 1024

# A replica that has work less than a tenth of the time counts for a third of an active resident: with k=3 allowed, nine
# of them are active more than three at once in 0.8 % of the time (binomial), inside the default sizing quantile of 99 %.
IDLE_BUSY_FRACTION = 0.10
IDLE_ACTIVE_PERMILLE = 334

# Demand is split over n, n+1, n+2 equal replicas, n being the fewest that can carry it: more, smaller replicas fill gaps.
EXTRA_SPLITS = 2

# Bisection between the capacities under whole and without bursts stops when the two ends are this close.
RATE_RATIO = 1.002

# Twenty halvings leave the rate known to one millionth.
BISECTION_STEPS = 20

# One request in a hundred thousand seconds: the latency of an unloaded engine.
TRICKLE_RPS = 1e-5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate replica of a group on a site, with the ledger and the forecast that justify its capacity."""

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
    active_permille: int
    compute_permille: int

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


def candidates(
    group: ServiceGroup, site: Site, quantile: float, measurements: Measurements, band_quantile: float | None = None
) -> tuple[tuple[Candidate, ...], tuple[Refusal, ...]]:
    """All candidates of a group on a site, and for what is impossible the reason. All rests on measurements where it can.

    With band_quantile step times count as known: as long as at that quantile of their error band.
    """
    found: list[Candidate] = []
    refused: list[Refusal] = []
    for mode, settings, mig in _variants(group, site):
        try:
            _check_version(settings, mig)
            step = _at_band(predict(group.model.architecture, site.gpu, settings, mig, measurements), band_quantile)
            variant = _Variant(group, site, mode, settings, mig, step, quantile, measured_constants(measurements, site.gpu, settings))
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


def _at_band(step: StepTime, band_quantile: float | None) -> StepTime:
    """Step times as at a quantile of their band, which then has no width; None leaves them with their band."""
    return step if band_quantile is None else replace(step.slower(step.quantile(band_quantile)), residual_quantiles=())


def _variants(group: ServiceGroup, site: Site) -> Iterator[tuple[Sharing, EngineSettings, MigProfile | None]]:
    for choice in group.settings_choices:
        yield from _modes(group, site, settings_on(site.gpu, choice))


def _modes(group: ServiceGroup, site: Site, settings: EngineSettings) -> Iterator[tuple[Sharing, EngineSettings, MigProfile | None]]:
    single = replace(settings, tensor_parallel_size=1)
    if "exclusive" in site.modes:
        for size in sorted(set(group.model.tensor_parallel) & set(site.block_sizes)):
            yield "exclusive", replace(settings, tensor_parallel_size=size), None
    if 1 not in group.model.tensor_parallel:
        return
    if "time_shared" in site.modes and site.max_active_residents > 1:
        yield "time_shared", single, None
    if "mig" in site.modes:
        for profile in site.mig_profiles:
            yield "mig", single, profile


@dataclass(frozen=True, slots=True)
class _Variant:
    """A group on a site in one mode, before its size is chosen."""

    group: ServiceGroup
    site: Site
    mode: Sharing
    settings: EngineSettings
    mig: MigProfile | None
    step: StepTime
    quantile: float
    measured: MeasuredConstants | None

    def load(self, rate_rps: float, level: int) -> LoadForecast | None:
        return forecast(self.step, self.group.mix_at(rate_rps), rate_rps, 1.0 / level, self.settings, self.quantile)

    def largest_rps(self, level: int) -> float:
        """Largest rate that meets the SLO; a replica with part of a bursty demand sees only its part of each burst."""

        def capacity(mix: RequestMix) -> float:
            return capacity_rps(self.step, mix, self.group.slo, 1.0 / level, self.settings, self.quantile)

        low_rps, high_rps = capacity(self.group.mix), capacity(self.group.mix_at(0.0))
        if low_rps <= 0.0:
            return 0.0
        while high_rps > low_rps * RATE_RATIO:
            middle_rps = math.sqrt(low_rps * high_rps)
            load = self.load(middle_rps, level)
            meets = load is not None and load.ttft_s <= self.group.slo.ttft_s and load.tpot_s <= self.group.slo.tpot_s
            low_rps, high_rps = (middle_rps, high_rps) if meets else (low_rps, middle_rps)
        return low_rps

    def kv_need_bytes(self, rate_rps: float, level: int) -> int | None:
        """KV bytes that hold its requests in flight at p99; None at a rate without steady state."""
        load = self.load(rate_rps, level)
        if load is None:
            return None
        request_tokens = load.kv_tokens / load.running_requests
        return kv_bytes_for_tokens(self.group.model.architecture, self.settings, math.ceil(load.kv_tokens_p99), request_tokens)

    def only_when_idle(self, rate_rps: float, level: int) -> bool:
        """Whether a replica meets the SLO only as meetings of two requests are rarer than the quantile counts, and one is not enough.

        A fleet of such replicas would be idle nearly all the time and still serve next to nothing.
        """
        load = self.load(rate_rps, level)
        return load is not None and load.running_requests < 1.0 - self.quantile and rate_rps < self.group.peak_rps

    def ledger(self, kv_bytes: int) -> MemoryLedger:
        constants = self.measured.constants if self.measured else None
        return memory_ledger(self.group.model.architecture, self.site.gpu, self.settings, kv_bytes, constants)

    @property
    def min_kv_bytes(self) -> int:
        return least_kv_bytes(self.group.model.architecture, self._fewest)

    @property
    def least_pool_holds(self) -> str:
        return least_pool_holds(self.group.model.architecture, self._fewest)

    @property
    def _fewest(self) -> EngineSettings:
        """Its settings with the fewest sequences that it may have: one where nobody chose max_num_seqs."""
        return self.settings if self.group.model.max_num_seqs_stated else replace(self.settings, max_num_seqs=1)

    def within(self, kv_bytes: int) -> _Variant:
        """With no more sequences than the pool has blocks for, where nobody chose max_num_seqs."""
        if self.group.model.max_num_seqs_stated:
            return self
        sequences = largest_max_num_seqs(self.group.model.architecture, self.settings, kv_bytes)
        return replace(self, settings=replace(self.settings, max_num_seqs=sequences))

    def slo_reason(self, level: int) -> str:
        """Why not even a trickle of requests meets the SLO when `level` residents are active."""
        best = self.load(TRICKLE_RPS, level)
        share = f"at 1/{level} of the GPU" if level > 1 else "alone"
        if best is None:
            return f"cannot finish even one request at a time {share}"
        slo = self.group.slo
        return (
            f"unloaded and {share} its p{self.quantile * 100:g} is TTFT {best.ttft_s * 1000:.0f} ms, TPOT {best.tpot_s * 1000:.1f} ms; "
            f"the goal is TTFT {slo.ttft_s * 1000:.0f} ms, TPOT {slo.tpot_s * 1000:.1f} ms"
        )


def _alone(variant: _Variant) -> Candidate:
    """The replica that has a GPU, a block or a MIG slice to itself: all memory that is left becomes KV cache."""
    kv_bytes = _kv_room_bytes(variant)
    return _candidate(variant, 1, kv_bytes, _largest_rate(variant, 1, kv_bytes))


def _kv_room_bytes(variant: _Variant) -> int:
    """Memory left for KV cache on an otherwise empty GPU or slice; UnsupportedError when not even one request fits."""
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
    return (memory_mib - empty.total_mib) * MIB


def _largest_rate(variant: _Variant, level: int, kv_bytes: int) -> float:
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


def _time_shared(alone: _Variant) -> list[Candidate]:
    """Replicas for each number of residents active together, with just the KV cache that their part of the demand needs."""
    variant = replace(alone, step=alone.step.slower(alone.site.interference_factor))
    room_bytes = _kv_room_bytes(variant)
    found: list[Candidate] = []
    reasons: list[str] = []
    for level in range(2, variant.site.max_active_residents + 1):
        try:
            largest_rps = _largest_rate(variant, level, room_bytes)
        except UnsupportedError as error:
            reasons.append(str(error))
            continue
        fewest = max(1, variant.group.min_replicas, math.ceil(variant.group.peak_rps / largest_rps))
        sized = [_sized(variant, level, variant.group.peak_rps / count) for count in range(fewest, fewest + EXTRA_SPLITS + 1)]
        found += [candidate for candidate in sized if candidate and candidate.kv_bytes <= room_bytes]
    if not found:
        raise UnsupportedError(reasons[0])
    return found


def _sized(variant: _Variant, level: int, rate_rps: float) -> Candidate | None:
    need_bytes = variant.kv_need_bytes(rate_rps, level)
    return None if need_bytes is None else _candidate(variant, level, max(variant.min_kv_bytes, need_bytes), rate_rps)


def _candidate(sized: _Variant, level: int, kv_bytes: int, rate_rps: float) -> Candidate:
    variant = sized.within(kv_bytes)
    load = variant.load(rate_rps, level)
    # busy at the worst-case share: a station like M/G/infinity with N requests in the mean is empty exp(-N) of the time
    busy_fraction = 1.0 if load is None else -math.expm1(-load.running_requests)
    idle = variant.mode == "time_shared" and busy_fraction <= IDLE_BUSY_FRACTION
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
        active_permille=IDLE_ACTIVE_PERMILLE if idle else 1000,
        # k residents that are always active fill the GPU exactly: rounding up must not turn k times 1/k into more than all
        compute_permille=min(1000 // level, math.ceil(1000 * busy_fraction / level)),
    )
