"""How far a plan is from breaking: the growth of demand, the slowdown by neighbours and the nodes whose loss its replicas do not bear.

Judged at p95, for which goals are written, with steps at policy.risk.step_quantile of their spread; replicas are sized for
policy.risk.attainment, and the difference is the margin that this measures. Everything is closed form: no placement changes and nothing
is solved again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planner.plan import Breaking, Limit
from planner.problem import Placed, Solution
from planner.sizing.blueprint import Blueprint
from planner.sizing.candidates import Candidate
from planner.sizing.groups import ServiceGroup
from planner.sizing.parts import node_name
from profiles.latency.capacity import Slo
from profiles.memory.kv import kv_bytes_for_tokens

# docs/fleet.md: goals are latencies that 95 % of the requests stay under.
SLO_QUANTILE = 0.95
# Standard normal scores of 95 % and of 99.9 %, the share of time for which a KV pool is sized (profiles.latency.under_load).
_KV_SCORES_RATIO = 1.6448536269514722 / 3.090232306167813
# Beyond 32 times the plan nobody asks how much more it would be.
MOST_FACTOR = 32.0
# Ten halvings of an interval whose ends differ by a factor of two leave less than 0.1 %.
_HALVINGS = 10


@dataclass(frozen=True, slots=True)
class Serving:
    """The replicas of a group: per replica its node and the index of its candidate; served_rps is what they carry together."""

    group: ServiceGroup
    seats: tuple[tuple[str, int], ...]
    served_rps: float


def limit_broken(
    candidate: Candidate, rate_rps: float, slo: Slo, quantile: float, factor: float = 1.0, *, pool: bool = True
) -> Limit | None:
    """What a replica of a candidate breaks at a rate, steps being `factor` times as long; None while it stays within the goals.

    With pool False its KV cache counts as large enough.
    """
    load = candidate.forecast(rate_rps, quantile, factor)
    if load is None:
        return "throughput"
    ttft_fraction, tpot_fraction = slo.ttft_used(load.ttft_s, load.ttft_by_class_s), load.tpot_s / slo.tpot_s
    if max(ttft_fraction, tpot_fraction) > 1.0:
        return "ttft" if ttft_fraction > tpot_fraction else "tpot"
    if not pool or not load.running_requests:
        return None
    tokens = load.kv_tokens + _KV_SCORES_RATIO * max(0.0, load.kv_tokens_p99 - load.kv_tokens)
    each = load.kv_tokens / load.running_requests
    need_bytes = kv_bytes_for_tokens(candidate.group.model.architecture, candidate.settings, math.ceil(tokens), each)
    return "kv_cache" if need_bytes > candidate.kv_bytes else None


def smallest_factor(breaks: Callable[[float], Limit | None]) -> tuple[float | None, Limit | None]:
    """The smallest factor above 1 that breaks something, to 0.1 %, and what; (None, None) when MOST_FACTOR does not. breaks is monotone."""
    low, high = 1.0, 2.0
    limit = breaks(high)
    while limit is None:
        if high >= MOST_FACTOR:
            return None, None
        low, high = high, 2 * high
        limit = breaks(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = breaks(middle)
        if found is None:
            low = middle
        else:
            high, limit = middle, found
    return high, limit


def breaking_point(serving: Serving, candidates: Sequence[Candidate], slo: Slo) -> Breaking:
    """Breaking point of a workload with this goal among those that the replicas serve."""
    rates_rps = _rates(serving, candidates, [index for _, index in serving.seats])

    def at(demand_factor: float, factor: float) -> Limit | None:
        broken = (
            limit_broken(candidates[index], rate_rps * demand_factor, slo, SLO_QUANTILE, factor) for index, rate_rps in rates_rps.items()
        )
        return next((limit for limit in broken if limit is not None), None)

    demand_factor, demand_limit = smallest_factor(lambda value: at(value, 1.0))
    interference_factor, interference_limit = smallest_factor(lambda value: at(1.0, value))
    return Breaking(
        demand_factor=_rounded(demand_factor),
        demand_limit=demand_limit,
        interference_factor=_rounded(interference_factor),
        interference_limit=interference_limit,
        nodes=_fatal_nodes(serving, candidates, slo),
    )


def breaking_points(blueprint: Blueprint, solution: Solution, placed: Sequence[Placed]) -> dict[str, Breaking]:
    """Breaking point per declared workload; without those whose model has no replica or is not fully served, which is broken already."""
    seats: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for item in blueprint.real(placed):
        shape = blueprint.problem.shapes[item.shape]
        seats[shape.demand].append((node_name(blueprint.pools[shape.pool], item.node), item.shape))
    found: dict[str, Breaking] = {}
    for demand, own in sorted(seats.items()):
        if solution.unserved_microrps[demand]:
            continue
        group = blueprint.groups[demand]
        serving = Serving(group, tuple(own), group.peak_rps)
        by_goal: dict[Slo, Breaking] = {}
        for workload in group.workloads:
            slo = group.slo_of(workload)
            if slo not in by_goal:
                by_goal[slo] = breaking_point(serving, blueprint.candidates, slo)
            found[workload.name] = by_goal[slo]
    return found


def _rounded(factor: float | None) -> float | None:
    """Three decimals, rounded up: at the stated factor it is broken."""
    return None if factor is None else math.ceil(factor * 1000) / 1000


def _rates(serving: Serving, candidates: Sequence[Candidate], standing: Sequence[int]) -> Mapping[int, float]:
    """Rate of one replica of each candidate when these replicas carry everything: routes weigh by capacity."""
    total_rps = sum(candidates[index].capacity_rps for index in standing)
    return {index: serving.served_rps * candidates[index].capacity_rps / total_rps for index in sorted(set(standing))}


def _fatal_nodes(serving: Serving, candidates: Sequence[Candidate], slo: Slo) -> tuple[str, ...]:
    """Nodes whose loss leaves no replica, or replicas that break the goal under everybody's load; starting others does not count."""
    fatal: list[str] = []
    judged: dict[tuple[tuple[int, float], ...], bool] = {}
    for node in sorted({node for node, _ in serving.seats}):
        standing = [index for other, index in serving.seats if other != node]
        if not standing:
            fatal.append(node)
            continue
        rates_rps = tuple(_rates(serving, candidates, standing).items())
        if rates_rps not in judged:
            judged[rates_rps] = any(_overloaded(candidates[index], rate_rps, slo) for index, rate_rps in rates_rps)
        if judged[rates_rps]:
            fatal.append(node)
    return tuple(fatal)


def _overloaded(candidate: Candidate, rate_rps: float, slo: Slo) -> bool:
    return rate_rps > candidate.capacity_rps and limit_broken(candidate, rate_rps, slo, SLO_QUANTILE) is not None
