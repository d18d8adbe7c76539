"""What a KV pool is for: its floor is what the planned rate needs, its targets what a burst, and all sequences of the engine, can use."""

from __future__ import annotations

from planner.plan import is_shared
from planner.sizing.candidates import Candidate
from planner.sizing.kv_steps import stepped_bytes
from profiles.memory.kv import has_cache, kv_bytes_for_tokens


def floor_bytes(candidate: Candidate, planned_rps: float) -> int:
    """KV bytes per GPU that the plan needs, in steps and at most the candidate's own; 0 for a model without KV cache.

    One that shares a GPU is sized for the whole of its capacity; one that has all memory to itself needs what its planned rate needs.
    """
    whole = candidate.whole
    if not has_cache(candidate.group.model.architecture):
        return 0
    rate_rps = candidate.capacity_rps if is_shared(candidate.mode) else planned_rps
    need_bytes = whole.kv_need_bytes(rate_rps, candidate.mean_active) or candidate.kv_bytes
    return min(candidate.kv_bytes, stepped_bytes(max(whole.min_kv_bytes, need_bytes), candidate.kv_bytes))


def burst_bytes(candidate: Candidate, burst_factor: float) -> int:
    """KV bytes per GPU that requests at so many times its capacity use at p99; where they pile up, what all sequences use."""
    most_bytes = sequences_bytes(candidate)
    need_bytes = candidate.whole.kv_need_bytes(candidate.capacity_rps * burst_factor, candidate.mean_active)
    return most_bytes if need_bytes is None else min(need_bytes, most_bytes)


def sequences_bytes(candidate: Candidate) -> int:
    """KV bytes per GPU of max_num_seqs requests of mean length at their ends: no engine can use more."""
    settings, mix = candidate.whole.settings, candidate.group.mix
    request_tokens = mix.input_tokens + mix.output_tokens
    tokens = round(settings.max_num_seqs * request_tokens)
    return max(candidate.kv_bytes, kv_bytes_for_tokens(candidate.group.model.architecture, settings, tokens, request_tokens))
