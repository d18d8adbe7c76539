"""Engines that run, as candidates: one whose memory and settings satisfy the fleet counts as it is, with the KV pool it has."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

from planner.plan import Replica
from planner.sizing.candidates import Candidate, fewest_replicas, kv_room_bytes, largest_rate, levels, sized, split_rates
from planner.sizing.engine_args import engine_args, gpu_mode, starts_with
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import Sizing, Variant, variant_of, ways
from profiles.settings import UnsupportedError

# Rates that are parts of one demand differ in the last digits.
_RELATIVE = 1e-9


def as_it_runs(replica: Replica, group: ServiceGroup, site: Site, sizing: Sizing, count: int) -> Candidate | None:
    """What an engine that runs on a site may count as; None when its settings or its KV pool do not satisfy the group any more.

    Its pool is what it has: it must hold what the candidate carries, and be within the room there is. Of several sizes the one is taken
    that carries the group's demand as one of `count` replicas, else the largest; with as many active neighbours as so far if possible.
    """
    found: list[Candidate] = []
    for way in ways(group, site):
        mode, settings, mig = way
        profile = mig.name if mig else None
        if settings.tensor_parallel_size != replica.args.tensor_parallel_size or profile != (replica.mig.profile if replica.mig else None):
            continue
        for level in levels(group, site) if mode == "time_shared" else (1,):
            # what is too slow beside two neighbours may do beside one
            with suppress(UnsupportedError):
                found += _sizes(variant_of(way, group, site, sizing), level, replica, count)
    wanted_rps = group.peak_rps / count * (1 - _RELATIVE)
    return min(found, key=lambda item: _rank(item, replica, wanted_rps), default=None)


def _rank(candidate: Candidate, replica: Replica, wanted_rps: float) -> tuple[bool, bool, float]:
    enough = candidate.capacity_rps >= wanted_rps
    return candidate.max_active != replica.max_active_residents, not enough, candidate.capacity_rps if enough else -candidate.capacity_rps


def _sizes(variant: Variant, level: int, replica: Replica, count: int) -> list[Candidate]:
    """The candidates of a variant that are exactly this engine; UnsupportedError when it is impossible by now."""
    kv_bytes = replica.args.kv_cache_memory_bytes
    room_bytes = kv_room_bytes(variant)
    if not variant.min_kv_bytes <= kv_bytes <= room_bytes:
        return []
    rates: list[float] = []
    if variant.mode == "time_shared":
        fewest = fewest_replicas(variant, level, room_bytes)
        rates = [*split_rates(variant, fewest), *([variant.group.peak_rps / count] if count >= fewest else [])]
    fitting = [rate_rps for rate_rps in rates if (variant.kv_need_bytes(rate_rps, level) or math.inf) <= kv_bytes]
    made = [sized(variant, level, kv_bytes, rate_rps) for rate_rps in fitting or [largest_rate(variant, level, kv_bytes)]]
    started = [_as_started(candidate, replica) for candidate in made]
    return [candidate for candidate in started if _is(candidate, replica)]


def _as_started(candidate: Candidate, replica: Replica) -> Candidate:
    """The candidate with the memory utilisation that the engine was started with, where that may stay."""
    fraction = replica.args.gpu_memory_utilization
    same = engine_args(candidate, replica.args.host, replica.args.port).gpu_memory_utilization == fraction
    return candidate if same or not starts_with(candidate, fraction) else replace(candidate, utilization_fraction=fraction)


def _is(candidate: Candidate, replica: Replica) -> bool:
    """Whether a candidate is this engine, wherever it listens."""
    args = engine_args(candidate, replica.args.host, replica.args.port)
    return (gpu_mode(candidate), candidate.settings.engine_version, args) == (replica.mode, replica.engine_version, replica.args)
