"""Replicas that share a GPU by MPS: parts of a demand that one carries with its threads, and the memory bandwidth that it draws meanwhile.

Every resident has threads of its own, which are never more than there are, and what all draw of the bandwidth while they work is never more
than there is: so a replica keeps its step times while all of its neighbours work, whatever they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.sizing.activity import SharingLimit
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import Variant
from profiles.latency.bandwidth import StepBatch, drawn_bandwidth_fraction

# Demand is split over n, n + 1, n + 2 equal replicas, n being the fewest that can carry it: smaller replicas fill gaps.
_EXTRA_SPLITS = 2


def beside_threads(site: Site) -> SharingLimit:
    """Whom a replica with threads of its own bears: as many as the policy allows, always at work."""
    return SharingLimit(site.max_active_residents, float(site.max_active_residents))


def parts_rps(variant: Variant, largest_rps: float) -> Iterator[float]:
    """Rates of one of several equal replicas: the fewest that carry the demand, and a few more."""
    group = variant.group
    fewest = max(1, group.min_replicas, math.ceil(group.peak_rps / largest_rps))
    for count in range(fewest, fewest + _EXTRA_SPLITS + 1):
        yield group.peak_rps / count


def drawn_fraction(variant: Variant, rate_rps: float) -> float:
    """The part of the GPU's memory bandwidth that a replica draws while it works, at most as busy as at this rate in the mean.

    With steps at the middle of their band: slower ones draw less.
    """
    group = variant.group
    if group.model.pooling:
        batches = [StepBatch(group.mix.input_tokens, 1.0, 0.0)]
    else:
        batches = [StepBatch(1.0, 1.0, group.mix.input_tokens + group.mix.output_tokens)]
        load = variant.load(rate_rps, 1.0)
        if load is not None and load.running_requests > 1.0:
            batches.append(StepBatch(load.running_requests, load.running_requests, load.kv_tokens))
    architecture, gpu, settings = group.model.architecture, variant.site.gpu, variant.settings
    return max(drawn_bandwidth_fraction(architecture, gpu, settings, variant.median, batch) for batch in batches)
