"""Engines that run, as candidates: one whose memory and settings satisfy the fleet counts as it is, with the KV pool it has."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

from planner.plan import ALL_THREADS, Replica
from planner.sizing.activity import ALONE, RatesBeside, SharingLimit, sharing_limits
from planner.sizing.candidates import Candidate, kv_room_bytes, largest_rate, sized
from planner.sizing.engine_args import engine_args, gpu_mode, starts_with
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.sizing.threads import beside_threads, parts_rps
from planner.sizing.time_shared import borne, largest_borne_rps, mean_active, splits
from planner.sizing.together import loosest_first
from planner.sizing.ways_to_run import Sizing, Variant, variant_of, ways
from profiles.settings import UnsupportedError

# Rates that are parts of one demand differ in the last digits.
_RELATIVE = 1e-9


def as_it_runs(replica: Replica, group: ServiceGroup, site: Site, sizing: Sizing, count: int) -> tuple[Candidate, ...]:
    """What an engine that runs on a site may count as, one candidate per class of neighbours, the loosest class first.

    Nothing when its settings or its KV pool do not satisfy the group any more. Its pool is what it has: it must hold what the candidate
    carries, and be within the room there is. Of several sizes the one comes first that it was planned as, then the one that carries the
    group's demand as one of `count` replicas, and classes where there is such a size come before all others; without any the largest.
    """
    found: list[Candidate] = []
    for way in ways(group, site):
        _, settings, mig = way
        profile = mig.name if mig else None
        if settings.tensor_parallel_size != replica.args.tensor_parallel_size or profile != (replica.mig.profile if replica.mig else None):
            continue
        if settings.active_thread_percentage != (replica.args.active_thread_percentage or ALL_THREADS):
            continue
        with suppress(UnsupportedError):
            found += _sizes(variant_of(way, group, site, sizing), replica, count)
    wanted_rps = group.peak_rps / count * (1 - _RELATIVE)
    best: dict[SharingLimit, Candidate] = {}
    for candidate in sorted(found, key=lambda item: (not as_planned(item, replica), *_rank(item, wanted_rps))):
        best.setdefault(candidate.limit, candidate)
    return tuple(best.values())


def as_planned(candidate: Candidate, replica: Replica) -> bool:
    """Whether a candidate carries what the replica was planned to carry, beside the neighbours that it was planned for."""
    planned = SharingLimit(replica.max_residents, replica.active_limit)
    return candidate.limit == planned and math.isclose(candidate.capacity_rps, replica.capacity_rps, rel_tol=_RELATIVE)


def _rank(candidate: Candidate, wanted_rps: float) -> tuple[bool, float, float, int]:
    enough = candidate.capacity_rps >= wanted_rps
    return not enough, candidate.capacity_rps if enough else -candidate.capacity_rps, *loosest_first(candidate.limit)


def _sizes(variant: Variant, replica: Replica, count: int) -> list[Candidate]:
    """The candidates of a variant that are exactly this engine; UnsupportedError when it is impossible by now."""
    kv_bytes = replica.args.kv_cache_memory_bytes
    room_bytes = kv_room_bytes(variant)
    if not variant.min_kv_bytes <= kv_bytes <= room_bytes:
        return []
    if variant.mode == "time_shared":
        made = [sized(variant, limit, kv_bytes, rate_rps) for rate_rps, limit in _rates(variant, replica, count, room_bytes)]
    elif variant.mode == "mps":
        made = [
            sized(variant, beside_threads(variant.site), kv_bytes, rate_rps) for rate_rps in _rates_by_threads(variant, kv_bytes, count)
        ]
    else:
        made = [sized(variant, ALONE, kv_bytes, largest_rate(variant, 1, kv_bytes))]
    started = [_as_started(candidate, replica) for candidate in made]
    return [candidate for candidate in started if _is(candidate, replica)]


def _rates(variant: Variant, replica: Replica, count: int, room_bytes: int) -> list[tuple[float, SharingLimit]]:
    """Rates that the engine's pool holds with the neighbours that it bears at each; where none is a part of the demand, the largest."""
    kv_bytes = replica.args.kv_cache_memory_bytes
    fewest = math.ceil(variant.group.peak_rps / largest_rate(variant, 1, room_bytes))
    own_rps = variant.group.peak_rps / count
    beside = RatesBeside(variant)
    rates = [*splits(beside, fewest)]
    if all(rate_rps != own_rps for rate_rps, _ in rates) and count >= fewest:
        rates += [(own_rps, limit) for limit in borne(beside, own_rps, sharing_limits(variant.site.max_active_residents))]
    fitting = [
        (rate_rps, limit)
        for rate_rps, limit in rates
        if (beside.engine.kv_need_bytes(rate_rps, mean_active(beside, rate_rps, limit)) or math.inf) <= kv_bytes
    ]
    if fitting:
        return fitting
    own = SharingLimit(replica.max_residents, replica.active_limit)
    return [(largest_borne_rps(beside, own, kv_bytes), own)]


def _rates_by_threads(variant: Variant, kv_bytes: int, count: int) -> list[float]:
    """Parts of the demand that the engine's threads and pool hold; where none is, the largest rate."""
    largest_rps, own_rps = largest_rate(variant, 1, kv_bytes), variant.group.peak_rps / count
    rates = [*parts_rps(variant, largest_rps), *([own_rps] if own_rps <= largest_rps else [])]
    return list(dict.fromkeys(rates)) or [largest_rps]


def with_its_pool(candidate: Candidate, replica: Replica) -> Candidate | None:
    """A candidate with the KV pool of an engine that runs, where it then is that engine; None where it is not, or its pool is smaller."""
    kv_bytes = replica.args.kv_cache_memory_bytes
    if kv_bytes < candidate.kv_bytes:
        return None
    with suppress(UnsupportedError):
        larger = sized(candidate.whole, candidate.limit, kv_bytes, candidate.capacity_rps)
        if larger.ledger.total_mib > larger.site.memory_mib(larger.mig):
            # beside a pool as large, what this candidate is otherwise finds no room: it is another engine
            return None
        found = _as_started(larger, replica)
        return found if _is(found, replica) else None
    return None


def _as_started(candidate: Candidate, replica: Replica) -> Candidate:
    """The candidate with the memory utilisation that the engine was started with, where that may stay."""
    fraction = replica.args.gpu_memory_utilization
    same = engine_args(candidate, replica.args.host, replica.args.port).gpu_memory_utilization == fraction
    return candidate if same or not starts_with(candidate, fraction) else replace(candidate, utilization_fraction=fraction)


def _is(candidate: Candidate, replica: Replica) -> bool:
    """Whether a candidate is this engine, wherever it listens."""
    args = engine_args(candidate, replica.args.host, replica.args.port)
    return (gpu_mode(candidate), candidate.settings.engine_version, args) == (replica.mode, replica.engine_version, replica.args)
