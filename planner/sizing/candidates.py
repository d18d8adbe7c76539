"""Candidate replicas: every way worth considering to run one service group on one pool.

A candidate fixes everything an engine needs (GPUs, MIG profile, KV bytes) and states what it can carry:
capacity is the largest rate whose predicted latency at the sizing quantile meets the SLO at the worst-case share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.plan import ALL_THREADS, Refusal
from planner.sizing.activity import ALONE, RatesBeside, SharingLimit
from planner.sizing.engine_beside import EngineBeside
from planner.sizing.groups import ServiceGroup
from planner.sizing.kv_steps import stepped_bytes
from planner.sizing.sites import Site
from planner.sizing.threads import beside_threads, drawn_fraction, parts_rps
from planner.sizing.time_shared import activities, mean_active, splits
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

# Twenty halvings leave the rate known to one millionth.
BISECTION_STEPS = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate replica of a group on a site, with the ledger and the forecast that justify its capacity.

    limit is whom it bears on its GPU; with active_at_worst residents active at once, itself counted, its goals are still met at the
    sizing quantile; mean_active of them are in the mean while it is itself. active_permille and compute_permille are per joint window of
    the fleet: the part of time in which it has work, beside its neighbours and alone.

    whole is the variant before the size of the KV pool limits its max_num_seqs. Steps are taken to be slower times as long as they are
    known to be. utilization_fraction is the --gpu-memory-utilization of an engine that runs and was started with another one than its
    ledger gives. bandwidth_fraction is what one under MPS draws of the memory's bandwidth while it works.
    """

    group: ServiceGroup
    site: Site
    mode: Sharing
    settings: EngineSettings
    mig: MigProfile | None
    limit: SharingLimit
    active_at_worst: int
    mean_active: float
    kv_bytes: int
    ledger: MemoryLedger
    step: StepTime
    slower: float
    capacity_rps: float
    active_permille: tuple[int, ...]
    compute_permille: tuple[int, ...]
    whole: Variant
    utilization_fraction: float | None = None
    bandwidth_fraction: float = 0.0

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.settings.tensor_parallel_size

    @property
    def share_fraction(self) -> float:
        """The part of a GPU's time that is this replica's at worst."""
        return 1.0 / self.active_at_worst

    def expected(self, rate_rps: float, quantile: float) -> LoadForecast | None:
        """Latency and load at a rate with steps as long as they are known to be; None as for forecast()."""
        return self.forecast(rate_rps, quantile, 1.0 / self.slower)

    def forecast(self, rate_rps: float, quantile: float, slower: float = 1.0) -> LoadForecast | None:
        """Latency at a rate beside as many active neighbours as at worst, and load beside as many as in the mean.

        slower is what every step takes longer than known.
        """
        step, mix = self.step if slower == 1.0 else self.step.slower(slower), self.group.mix_at(rate_rps)
        worst = forecast(step, mix, rate_rps, self.share_fraction, self.settings, quantile)
        if worst is None or self.mean_active == self.active_at_worst:
            return worst
        usual = forecast(step, mix, rate_rps, 1.0 / self.mean_active, self.settings, quantile)
        if usual is None:
            return None
        return replace(usual, ttft_s=worst.ttft_s, tpot_s=worst.tpot_s, ttft_by_class_s=worst.ttft_by_class_s)


def candidates(group: ServiceGroup, site: Site, sizing: Sizing) -> tuple[tuple[Candidate, ...], tuple[Refusal, ...]]:
    """All candidates of a group on a site, and for what is impossible the reason. All rests on measurements where it can."""
    found: list[Candidate] = []
    refused: list[Refusal] = []
    for way in ways(group, site):
        mode, settings, mig = way
        try:
            _check_version(settings, mig)
            variant = variant_of(way, group, site, sizing)
            found.extend(_of_mode(variant))
        except UnsupportedError as error:
            where = f"{site.pool} {mig.name}" if mig else site.pool
            refused.append(Refusal(pool=where, mode=mode, gpus=settings.tensor_parallel_size, reason=str(error)))
    return _with_fewest_threads(found), _of_most_threads(found, refused)


def _check_version(settings: EngineSettings, mig: MigProfile | None) -> None:
    """UnsupportedError for an engine too old to run on a device named by its UUID: a MIG instance, or a GPU behind MPS."""
    named = mig is not None or settings.active_thread_percentage < ALL_THREADS
    reason = lacking(settings.engine_version, MIG_BY_UUID) if named else None
    if reason is not None:
        raise UnsupportedError(reason)


def _of_mode(variant: Variant) -> list[Candidate]:
    if variant.mode == "mps":
        return _by_threads(variant)
    return _time_shared(variant) if variant.mode == "time_shared" else [_alone(variant)]


def _by_threads(variant: Variant) -> list[Candidate]:
    """Replicas with these threads for parts of the demand, with just the KV cache that each part needs, in steps."""
    room_bytes, engine = kv_room_bytes(variant), EngineBeside(variant)
    found = []
    for rate_rps in parts_rps(variant, largest_rate(variant, 1, room_bytes)):
        need_bytes = engine.kv_need_bytes(rate_rps, 1)
        if need_bytes is not None and need_bytes <= room_bytes:
            kv_bytes = stepped_bytes(max(variant.min_kv_bytes, need_bytes), room_bytes)
            found.append(sized(variant, beside_threads(variant.site), kv_bytes, rate_rps))
    if not found:
        raise UnsupportedError(variant.slo_reason(1))
    return found


def _with_fewest_threads(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Of replicas under MPS that carry as much with the same settings those with the fewest threads: more of them serve nobody."""
    fewest: dict[tuple[EngineSettings, float], int] = {}
    for item in found:
        if item.mode == "mps":
            key, threads = _whatever_threads(item), item.settings.active_thread_percentage
            fewest[key] = min(threads, fewest.get(key, threads))
    return tuple(item for item in found if item.mode != "mps" or item.settings.active_thread_percentage == fewest[_whatever_threads(item)])


def _whatever_threads(candidate: Candidate) -> tuple[EngineSettings, float]:
    return replace(candidate.whole.settings, active_thread_percentage=ALL_THREADS), candidate.capacity_rps


def _of_most_threads(found: Sequence[Candidate], refused: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Without what few threads are too few for: where none are enough, what is said of the most of them; nothing where some are."""
    by_threads = [refusal for refusal in refused if refusal.mode == "mps"]
    kept = [] if any(item.mode == "mps" for item in found) else by_threads[-1:]
    return (*(refusal for refusal in refused if refusal.mode != "mps"), *kept)


def _alone(variant: Variant) -> Candidate:
    """The replica that has a GPU, a block or a MIG slice to itself: all memory that is left becomes KV cache."""
    kv_bytes = kv_room_bytes(variant)
    return sized(variant, ALONE, kv_bytes, largest_rate(variant, 1, kv_bytes))


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
    latency_rps, engine = variant.largest_rps(level), EngineBeside(variant)
    if latency_rps <= 0.0:
        raise UnsupportedError(variant.slo_reason(level))
    if engine.only_when_idle(latency_rps, level):
        raise UnsupportedError(
            f"{variant.slo_reason(level)}: a replica meets it at no more than {latency_rps:.3g} requests/s, as long as fewer than "
            f"{1 - variant.quantile:.2g} of the requests meet another one; relax slo"
        )

    def fits(rate_rps: float) -> bool:
        need_bytes = engine.kv_need_bytes(rate_rps, level)
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
    """Replicas for each class of neighbours, with just the KV cache that their part of the demand needs, in steps."""
    room_bytes = kv_room_bytes(variant)
    found = []
    least_bytes, rates = variant.min_kv_bytes, RatesBeside(variant)
    for rate_rps, limit in splits(rates, math.ceil(variant.group.peak_rps / largest_rate(variant, 1, room_bytes))):
        need_bytes = rates.engine.kv_need_bytes(rate_rps, mean_active(rates, rate_rps, limit))
        if need_bytes is not None and need_bytes <= room_bytes:
            kv_bytes = stepped_bytes(max(least_bytes, need_bytes), room_bytes)
            found.append(sized(variant, limit, kv_bytes, rate_rps, rates))
    if not found:
        raise UnsupportedError(variant.slo_reason(2))
    return found


def sized(whole: Variant, limit: SharingLimit, kv_bytes: int, rate_rps: float, rates: RatesBeside | None = None) -> Candidate:
    """The candidate with a KV pool of so many bytes that carries so much beside such neighbours; rates: what is known of the variant."""
    variant = whole.within(kv_bytes)
    if variant.mode == "time_shared":
        beside = rates if rates is not None and rates.variant is variant else RatesBeside(variant)
        active_permille, compute_permille, active_at_worst = activities(beside, rate_rps, limit)
        active_in_mean = mean_active(beside, rate_rps, limit)
    else:
        every = (1000,) * len(variant.group.windows_rps)
        active_permille, compute_permille, active_at_worst, active_in_mean = every, every, 1, 1.0
    bandwidth_fraction = drawn_fraction(variant, rate_rps) if variant.mode == "mps" else 0.0
    return Candidate(
        group=variant.group,
        site=variant.site,
        mode=variant.mode,
        settings=variant.settings,
        mig=variant.mig,
        limit=limit,
        active_at_worst=active_at_worst,
        mean_active=active_in_mean,
        kv_bytes=kv_bytes,
        ledger=variant.ledger(kv_bytes),
        step=variant.step,
        slower=variant.slower,
        capacity_rps=rate_rps,
        active_permille=active_permille,
        compute_permille=compute_permille,
        whole=whole,
        bandwidth_fraction=bandwidth_fraction,
    )
