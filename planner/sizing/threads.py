"""Replicas that share a GPU by MPS: parts of a demand that one carries with its threads, and the memory bandwidth that it draws meanwhile.

Every resident has threads of its own, which are never more than there are, and what all draw of the bandwidth while they work is never more
than there is: so a replica keeps its step times while all of its neighbours work, whatever they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.sizing.activity import SharingLimit
from planner.sizing.sites import Site
from planner.sizing.time_shared import EXTRA_SPLITS
from planner.sizing.ways_to_run import Variant
from profiles.latency.bandwidth import StepBatch, drawn_bandwidth_fraction


def beside_threads(site: Site) -> SharingLimit:
    """Whom a replica with threads of its own bears: as many as the policy allows, always at work."""
    return SharingLimit(site.max_active_residents, float(site.max_active_residents))


def parts_rps(variant: Variant, largest_rps: float) -> Iterator[float]:
    """Rates of one of several equal replicas: the fewest that carry the demand, and a few more."""
    group = variant.group
    fewest = max(1, group.min_replicas, math.ceil(group.peak_rps / largest_rps))
    for count in range(fewest, fewest + EXTRA_SPLITS + 1):
        yield group.peak_rps / count


def drawn_fraction(variant: Variant, rate_rps: float) -> float:
    """The part of the GPU's memory bandwidth that a replica draws while it works at this rate: with one request, the mean, or p99 of them.

    With steps at the middle of their band: slower ones draw less.
    """
    group = variant.group
    if group.model.pooling:
        batches = [StepBatch(group.mix.input_tokens, 1.0, 0.0)]
    else:
        batches = [StepBatch(1.0, 1.0, group.mix.input_tokens + group.mix.output_tokens)]
        load = variant.load(rate_rps, 1.0)
        if load is not None:
            for kv_tokens in (load.kv_tokens, load.kv_tokens_p99):
                sequences = min(float(variant.settings.max_num_seqs), load.running_requests * kv_tokens / load.kv_tokens)
                batches += [StepBatch(sequences, sequences, kv_tokens)] if sequences > 1.0 else []
    architecture, gpu, settings = group.model.architecture, variant.site.gpu, variant.settings
    return max(drawn_bandwidth_fraction(architecture, gpu, settings, variant.median, batch) for batch in batches)
