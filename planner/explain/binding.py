"""Which constraint limits the replicas of a model: a latency goal, steady state, or memory for KV cache."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from planner.explain.breaking import MOST_FACTOR, limit_broken, smallest_factor
from planner.plan import Limit
from planner.sizing.blueprint import Blueprint
from planner.sizing.candidates import MIB, Candidate
from profiles.memory.kv import kv_bytes_for_tokens

# A rate just below the one that breaks the goal, to see how much KV cache it needs: the search stops at 0.1 %.
_JUST_BELOW = 0.998

_MEANING = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "throughput": "throughput (no steady state beyond it, or max_num_seqs requests at once)",
}


def binding(
    blueprint: Blueprint, own: Sequence[int], standing: Counter[int], quantile: float
) -> tuple[Limit | Literal["memory", "nothing"], str]:
    """What a replica of the model meets first as its rate grows, with a sentence.

    Of the shapes in own the one that most replicas have is judged, without any replica the one that carries most.
    "nothing" when there is no shape, or none of its limits is within 32 times its rate.
    """
    if not own:
        return "nothing", "no replica of it is possible"
    index = max(own, key=lambda i: (standing[i], blueprint.candidates[i].capacity_rps, -i))
    candidate = blueprint.candidates[index]
    factor, limit = smallest_factor(
        lambda value: limit_broken(candidate, candidate.capacity_rps * value, candidate.group.slo, quantile, pool=False)
    )
    where = _where(candidate)
    if factor is None or limit is None:
        return "nothing", f"{where}, a replica could carry more than {MOST_FACTOR:g} times its {candidate.capacity_rps:.3g} requests/s"
    rate_rps = candidate.capacity_rps * factor * _JUST_BELOW
    short = _short_of_memory(candidate, rate_rps, quantile)
    if short is not None:
        return "memory", f"{where}, {short}"
    goals_ms = {"ttft": candidate.group.slo.ttft_s * 1000, "tpot": candidate.group.slo.tpot_s * 1000}
    goal = f" of {goals_ms[limit]:.0f} ms" if limit in goals_ms else ""
    return limit, (
        f"{where}, a replica reaches the limit at {rate_rps:.3g} requests/s: {_MEANING[limit]}{goal} at p{quantile * 100:g}; "
        f"its part of the demand is {candidate.capacity_rps:.3g} requests/s"
    )


def _where(candidate: Candidate) -> str:
    if candidate.mig is not None:
        return f"in a {candidate.mig.name} slice of pool {candidate.site.pool}"
    if candidate.mode == "exclusive":
        return f"on {candidate.gpus} GPU{'s' if candidate.gpus > 1 else ''} of pool {candidate.site.pool}"
    return f"beside {_counted(candidate.active_at_worst - 1)} on a GPU of pool {candidate.site.pool}"


def _counted(neighbours: int) -> str:
    return f"{neighbours} active neighbour{'' if neighbours == 1 else 's'}"


def _short_of_memory(candidate: Candidate, rate_rps: float, quantile: float) -> str | None:
    """A sentence when the KV cache for a rate does not fit the GPU even without neighbours."""
    load = candidate.forecast(rate_rps, quantile)
    if load is None or not load.running_requests:
        return None
    each = load.kv_tokens / load.running_requests
    architecture = candidate.group.model.architecture
    need_mib = -(-kv_bytes_for_tokens(architecture, candidate.settings, math.ceil(load.kv_tokens_p99), each) // MIB)
    room_mib = candidate.site.memory_mib(candidate.mig) - (candidate.ledger.total_mib - candidate.ledger.kv_mib)
    if need_mib <= room_mib:
        return None
    return (
        f"latency would allow {rate_rps:.3g} requests/s, which need {need_mib} MiB of KV cache; "
        f"{room_mib} MiB are left beside {candidate.ledger.weights_mib} MiB of weights"
    )
