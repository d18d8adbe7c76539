"""Service groups: the workloads that share the replicas of one model, sized together.

Rates add up window by window, lengths mix in proportion to rates, and the tightest SLO among the workloads binds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from planner.demand.joint import JointWindow, Offered, Stretch, offered, representative, stretches
from planner.plan import RequestPriority, WorkloadRoute
from planner.spec import Adapter, Fleet, Model, Workload
from planner.spec.fleet import LongerOf
from profiles.latency.capacity import Slo
from profiles.latency.mix import QueueClass, RequestMix
from profiles.memory.adapters import lora_rank
from profiles.settings import EngineSettings


@dataclass(frozen=True)
class ServiceGroup:
    """What one served model must carry. windows_rps is its rate per joint window of the fleet, peak_rps the largest of them.

    mix describes its requests: means such that peak_rps requests/s carry the tokens of the heaviest window. Rates of windows are in such
    requests: where its requests are longer, more of them.
    """

    name: str
    model: Model
    workloads: tuple[Workload, ...]
    windows_rps: tuple[float, ...]
    mix: RequestMix
    slo: Slo

    @property
    def peak_rps(self) -> float:
        """The rate that its replicas are sized for."""
        return max(self.windows_rps)

    @property
    def priority(self) -> int:
        """The highest among its workloads: they share a queue."""
        return max(workload.priority for workload in self.workloads)

    @property
    def priorities(self) -> tuple[RequestPriority, ...]:
        """vLLM's priorities of its workloads, by name; none where all are alike. The most urgent ones have 0, which is vLLM's default."""
        if not self.mix.classes:
            return ()
        first = self.priority
        return tuple(
            RequestPriority(workload=workload.name, model=workload.adapter or self.name, priority=first - workload.priority)
            for workload in self.workloads
        )

    @property
    def apart(self) -> tuple[WorkloadRoute, ...]:
        """Its workloads where they ask for a model that others share."""
        return tuple(
            WorkloadRoute(workload=item.name, model=item.model.name, served_name=self.name) for item in self.workloads if item.apart
        )

    def slo_of(self, workload: Workload) -> Slo:
        """The goals of one of its workloads alone."""
        own = _ranks(self.workloads).index(workload.priority)
        goals_s = tuple(workload.ttft_p95_s if i == own else math.inf for i in range(len(self.mix.classes)))
        return Slo(workload.ttft_p95_s, workload.tpot_p95_s, goals_s)

    @property
    def min_replicas(self) -> int:
        """The largest among its workloads."""
        return max(workload.min_replicas for workload in self.workloads)

    @property
    def max_replicas(self) -> int | None:
        """The smallest among its workloads that limit them."""
        return min((workload.max_replicas for workload in self.workloads if workload.max_replicas is not None), default=None)

    @property
    def tolerate_nodes(self) -> int:
        """Nodes that may be lost while its demand is still served: the largest among its workloads."""
        return max(workload.tolerate_nodes for workload in self.workloads)

    @property
    def spread_nodes(self) -> bool:
        """Whether no two of its replicas may be on one machine: one of its workloads asks for that."""
        return any(workload.spread_nodes for workload in self.workloads)

    @property
    def not_with(self) -> frozenset[str]:
        """Served names that may not share a GPU with it."""
        return frozenset(name for workload in self.workloads for name in workload.not_with)

    @property
    def team(self) -> str | None:
        """Whose it is: that of its workloads, which are of one team wherever teams are kept apart."""
        return self.workloads[0].team

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """LoRA adapters that its replicas serve beside the model: all of them, unless it is an isolated workload's."""
        return self.model.adapters if self.name == self.model.name else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The models that requests may name, whether a replica serves them or not: the group's own and its adapters'."""
        return (self.name, *(adapter.name for adapter in self.adapters))

    @property
    def longer_of(self) -> LongerOf | None:
        """The rule by which it takes another group's longer requests; a group of those has one workload."""
        return self.workloads[0].longer_of

    def mix_at(self, rate_rps: float) -> RequestMix:
        """Its requests as a replica sees them that takes rate_rps of them.

        Splitting a stream of arrivals at random into a part p turns an index of dispersion d into 1 + (d - 1) p.
        """
        return self.mix if self.mix.burstiness == 1.0 else replace(self.mix, burstiness=self.burstiness_at(rate_rps))

    def burstiness_at(self, rate_rps: float) -> float:
        """Index of dispersion of the requests that a replica sees which takes rate_rps of them."""
        part = min(1.0, rate_rps / self.peak_rps)
        return 1.0 + (self.mix.burstiness - 1.0) * part

    def allows(self, pool: str) -> bool:
        """Whether every workload that is pinned is pinned to this pool too."""
        return all(not workload.pin or pool in workload.pin for workload in self.workloads)

    @property
    def settings(self) -> EngineSettings:
        """Engine settings of its replicas, for one GPU."""
        return EngineSettings(
            engine_version=self.model.engine_version,
            dtype=self.model.dtype,
            quantization=self.model.quantization,
            kv_cache_dtype=self.model.kv_cache_dtype,
            max_model_len=self.model.max_model_len,
            max_num_seqs=self.model.max_num_seqs,
            max_num_batched_tokens=self.model.max_num_batched_tokens,
            enforce_eager=self.model.enforce_eager,
            max_loras=len(self.adapters),
            max_lora_rank=max((lora_rank(adapter.rank) for adapter in self.adapters), default=0),
            # vLLM 0.32's default: two steps in flight need a larger pool where layers have sliding windows
            async_scheduling=True,
        )

    @property
    def settings_choices(self) -> tuple[EngineSettings, ...]:
        """Its settings and those that its replicas may have instead."""
        own = self.settings
        others = (replace(own, **choice.model_dump()) for choice in self.model.choices)
        return (own, *others)


def service_groups(fleet: Fleet) -> tuple[ServiceGroup, ...]:
    """One group per served name, sorted by it."""
    return joint_demand(fleet)[0]


def joint_demand(fleet: Fleet) -> tuple[tuple[ServiceGroup, ...], tuple[JointWindow, ...]]:
    """The groups of a fleet, sorted by served name, and the windows in which they are sized together: rates by served name."""
    members: defaultdict[str, list[Workload]] = defaultdict(list)
    # by name: sums of rates differ in the last digit with the order
    for workload in sorted(fleet.workloads, key=lambda workload: workload.name):
        members[workload.served_name].append(workload)
    times = stretches(workload.demand for workload in fleet.workloads)
    asked = {name: _asked(members[name], times) for name in sorted(members)}
    mixes = {name: _mix(members[name], asked[name], times) for name in asked}
    windows = representative(times, {name: [_in_requests_of(mixes[name], item) for item in asked[name]] for name in asked})
    groups = tuple(
        ServiceGroup(
            name=name,
            model=members[name][0].model,
            workloads=tuple(members[name]),
            windows_rps=tuple(window.rates_rps[name] for window in windows),
            mix=mixes[name],
            slo=_slo(members[name]),
        )
        for name in asked
    )
    return groups, windows


def _ranks(workloads: Sequence[Workload]) -> list[int]:
    """The priorities of workloads that share replicas, the most urgent first."""
    return sorted({workload.priority for workload in workloads}, reverse=True)


def _slo(workloads: Sequence[Workload]) -> Slo:
    ranks = _ranks(workloads)
    goals_s = [min(item.ttft_p95_s for item in workloads if item.priority == rank) for rank in ranks]
    return Slo(
        ttft_s=min(goals_s),
        tpot_s=min(workload.tpot_p95_s for workload in workloads),
        ttft_by_class_s=tuple(goals_s) if _looks_at_priorities(workloads) else (),
    )


def _looks_at_priorities(workloads: Sequence[Workload]) -> bool:
    """Whether engines take the most urgent requests first: vLLM does that for text only."""
    several = len(_ranks(workloads)) > 1 or any(workload.by_priority for workload in workloads)
    return several and not workloads[0].model.pooling


def _classes(workloads: Sequence[Workload], times: Sequence[Stretch]) -> tuple[QueueClass, ...]:
    """The parts of prefill work by priority, each the largest of any window: more work before somebody never helps."""
    if not _looks_at_priorities(workloads):
        return ()
    ranks = _ranks(workloads)
    largest = [0.0] * (len(ranks) + 1)
    for stretch in times:
        parts = [(1 - item.prefix_hit_fraction) * offered(item.demand, stretch).input_tokens_per_s for item in workloads]
        total = sum(parts)
        for i, rank in enumerate(ranks, 1):
            up_to = sum(part for part, item in zip(parts, workloads, strict=True) if item.priority >= rank)
            largest[i] = max(largest[i], min(1.0, up_to / total) if total else 0.0)
    return tuple(QueueClass(before, up_to) for before, up_to in pairwise(largest))


def _asked(workloads: Sequence[Workload], times: Sequence[Stretch]) -> list[tuple[Offered, float]]:
    """What a group asks for in each window: all its workloads together, and the input tokens/s of them that need computing."""
    found = []
    for stretch in times:
        parts = [offered(workload.demand, stretch) for workload in workloads]
        total = Offered(
            sum(part.rate_rps for part in parts),
            sum(part.input_tokens_per_s for part in parts),
            sum(part.output_tokens_per_s for part in parts),
            sum(part.bursts_rps for part in parts),
        )
        pairs = zip(workloads, parts, strict=True)
        found.append((total, sum((1 - workload.prefix_hit_fraction) * part.input_tokens_per_s for workload, part in pairs)))
    return found


def _mix(workloads: Sequence[Workload], asked: Sequence[tuple[Offered, float]], times: Sequence[Stretch]) -> RequestMix:
    peak_rps, busiest = max(((item.rate_rps, item) for item, _ in asked), key=lambda pair: pair[0])
    input_tokens_per_s = max(item.input_tokens_per_s for item, _ in asked)
    computed_tokens_per_s = max(computed for _, computed in asked)
    every = [window for workload in workloads for window in workload.demand.windows if window.rate_rps > 0]
    return RequestMix(
        input_tokens=input_tokens_per_s / peak_rps,
        output_tokens=max(item.output_tokens_per_s for item, _ in asked) / peak_rps,
        input_p99_tokens=max(window.input.p99_tokens for window in every),
        output_p99_tokens=max(window.output.p99_tokens for window in every),
        # never smoother than Poisson: a quiet sample of few requests is no promise
        burstiness=max(1.0, busiest.bursts_rps / peak_rps),
        # of the prompt tokens of the heaviest window those that need no computing in any: from below, as weights shift
        prefix_hit_fraction=max(1 - computed_tokens_per_s / input_tokens_per_s, 0.0) if input_tokens_per_s else 0.0,
        classes=_classes(workloads, times),
    )


def _in_requests_of(mix: RequestMix, asked: tuple[Offered, float]) -> float:
    """Rate in requests of the mix that carries at least the requests and the tokens of a window."""
    offer = asked[0]
    return max(offer.rate_rps, offer.input_tokens_per_s / mix.input_tokens, offer.output_tokens_per_s / mix.output_tokens)
