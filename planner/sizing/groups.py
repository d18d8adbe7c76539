"""Service groups: the workloads that share the replicas of one model, sized together.

Rates add up window by window, lengths mix in proportion to rates, and the tightest SLO among the workloads binds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.demand.windows import DemandWindow
from planner.spec import Adapter, Fleet, Model, Workload
from profiles.latency.capacity import Slo
from profiles.latency.mix import RequestMix
from profiles.memory.adapters import lora_rank
from profiles.settings import EngineSettings


@dataclass(frozen=True)
class ServiceGroup:
    """What one served model must carry. windows_rps is its rate per window of the fleet, peak_rps the largest of them.

    mix describes its requests: means such that peak_rps requests/s carry the tokens of the heaviest window.
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

    def mix_at(self, rate_rps: float) -> RequestMix:
        """Its requests as a replica sees them that takes rate_rps of them.

        Splitting a stream of arrivals at random into a part p turns an index of dispersion d into 1 + (d - 1) p.
        """
        if self.mix.burstiness == 1.0:
            return self.mix
        part = min(1.0, rate_rps / self.peak_rps)
        return replace(self.mix, burstiness=1.0 + (self.mix.burstiness - 1.0) * part)

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
    members: defaultdict[str, list[Workload]] = defaultdict(list)
    # by name: sums of rates differ in the last digit with the order
    for workload in sorted(fleet.workloads, key=lambda workload: workload.name):
        members[workload.served_name].append(workload)
    starts_s = sorted({window.start_s for workload in fleet.workloads for window in workload.demand.windows})
    return tuple(_group(name, members[name], starts_s) for name in sorted(members))


def _group(name: str, workloads: Sequence[Workload], starts_s: Sequence[float]) -> ServiceGroup:
    windows = [tuple(_at(workload, start_s) for workload in workloads) for start_s in starts_s]
    rates = tuple(sum(window.rate_rps for window in present if window) for present in windows)
    peak_rps = max(rates)
    busiest = [window for window in windows[rates.index(peak_rps)] if window]
    every = [window for workload in workloads for window in workload.demand.windows if window.rate_rps > 0]
    return ServiceGroup(
        name=name,
        model=workloads[0].model,
        workloads=tuple(workloads),
        windows_rps=rates,
        mix=RequestMix(
            input_tokens=max(_input_tokens_per_s(present) for present in windows) / peak_rps,
            output_tokens=max(sum(w.rate_rps * w.output.mean_tokens for w in present if w) for present in windows) / peak_rps,
            input_p99_tokens=max(window.input.p99_tokens for window in every),
            output_p99_tokens=max(window.output.p99_tokens for window in every),
            # never smoother than Poisson: a quiet sample of few requests is no promise
            burstiness=max(1.0, sum(window.rate_rps * window.burstiness for window in busiest) / peak_rps),
            prefix_hit_fraction=_prefix_hit_fraction(workloads, windows),
        ),
        slo=Slo(
            ttft_s=min(workload.ttft_p95_s for workload in workloads),
            tpot_s=min(workload.tpot_p95_s for workload in workloads),
        ),
    )


def _input_tokens_per_s(present: Sequence[DemandWindow | None]) -> float:
    return sum(window.rate_rps * window.input.mean_tokens for window in present if window)


def _prefix_hit_fraction(workloads: Sequence[Workload], windows: Sequence[Sequence[DemandWindow | None]]) -> float:
    """Share of the prompt tokens of the heaviest window that need no computing in any of them: from below, as weights shift."""
    asked = max(_input_tokens_per_s(present) for present in windows)
    computed = max(
        sum(
            (1 - workload.prefix_hit_fraction) * window.rate_rps * window.input.mean_tokens
            for workload, window in zip(workloads, present, strict=True)
            if window
        )
        for present in windows
    )
    return max(1 - computed / asked, 0.0) if asked else 0.0


def _at(workload: Workload, time_s: float) -> DemandWindow | None:
    """The window of a workload that holds a moment; None in between and after the last."""
    windows = workload.demand.windows
    position = bisect_right(windows, time_s, key=lambda window: window.start_s) - 1
    return windows[position] if position >= 0 and time_s < windows[position].end_s else None
