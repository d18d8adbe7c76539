"""The ways to run one service group on one site, each with its step times, before sizes are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from planner.plan import is_shared
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.spec.fleet import Sharing
from profiles.gpu_types import MigProfile, settings_on
from profiles.latency.capacity import LoadForecast, capacity_rps, forecast
from profiles.latency.mix import RequestMix
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime
from profiles.memory.kv import kv_bytes_for_tokens
from profiles.memory.ledger import MemoryLedger, MemoryParts, ledger_of, stage_parts
from profiles.memory.measured import MeasuredConstants, measured_constants
from profiles.memory.pool import largest_max_num_seqs, least_kv_bytes, least_pool_holds
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements

# Bisection between the capacities under whole and without bursts stops when the two ends are this close.
RATE_RATIO = 1.002

# One request in a hundred thousand seconds: the latency of an unloaded engine.
TRICKLE_RPS = 1e-5

# Parts of a GPU's threads that MPS may give a replica, in per cent. Each makes the solvers' problem larger; several of them add up to 100.
THREAD_PERCENTAGES = (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90)

# How a replica uses GPUs, its settings, and its MIG profile.
WayToRun = tuple[Sharing, EngineSettings, MigProfile | None]


@dataclass(frozen=True, slots=True)
class Sizing:
    """What replicas are sized by: the share of requests that meets the goals, and the quantile of their error band that steps take.

    The two are apart: one is what is promised to clients, the other how sure one is of an engine's speed, which is slow in all its steps or
    in none. slower is by how much longer than known the steps of a group's replicas are taken to be, where a simulation showed that they
    fall short otherwise.
    """

    quantile: float
    measurements: Measurements
    step_quantile: float
    slower: Mapping[str, float] = field(default_factory=dict)


def variant_of(way: WayToRun, group: ServiceGroup, site: Site, sizing: Sizing) -> Variant:
    """A way with its step times; UnsupportedError when the engine or GPU cannot do it."""
    mode, settings, mig = way
    predicted = predict(group.model.architecture, site.gpu, settings, mig, sizing.measurements)
    step = _at_band(predicted, sizing.step_quantile)
    if is_shared(mode):
        step = step.slower(site.interference_factor(mode))
    if group.name in sizing.slower:
        step = step.slower(sizing.slower[group.name])
    measured = measured_constants(sizing.measurements, site.gpu, settings)
    parts = _parts(group, site, settings, measured)
    slower = sizing.slower.get(group.name, 1.0)
    return Variant(group, site, mode, settings, mig, step, sizing.quantile, measured, parts, slower, _at_band(predicted, 0.5))


def _parts(group: ServiceGroup, site: Site, settings: EngineSettings, measured: MeasuredConstants | None) -> tuple[MemoryParts, ...]:
    return stage_parts(group.model.architecture, site.gpu, settings, measured.constants if measured else None)


def _at_band(step: StepTime, quantile: float) -> StepTime:
    """Step times as at a quantile of their band, which then has no width."""
    return replace(step.slower(step.quantile(quantile)), residual_quantiles=())


def ways(group: ServiceGroup, site: Site) -> Iterator[WayToRun]:
    """Every mode, block size and MIG profile that the group and the site allow."""
    for choice in group.settings_choices:
        yield from _modes(group, site, settings_on(site.gpu, choice))


def _modes(group: ServiceGroup, site: Site, settings: EngineSettings) -> Iterator[WayToRun]:
    single = replace(settings, tensor_parallel_size=1)
    if "exclusive" in site.modes:
        for size in sorted(set(group.model.tensor_parallel) & set(site.block_sizes)):
            yield "exclusive", replace(settings, tensor_parallel_size=size), None
    if 1 not in group.model.tensor_parallel:
        return
    if "time_shared" in site.modes and site.max_active_residents > 1:
        yield "time_shared", single, None
    if "mps" in site.modes and site.max_active_residents > 1:
        for percentage in THREAD_PERCENTAGES:
            yield "mps", replace(single, active_thread_percentage=percentage), None
    if "mig" in site.modes:
        for profile in site.mig_profiles:
            yield "mig", single, profile


@dataclass(frozen=True, slots=True)
class Variant:
    """A group on a site in one mode, before its size is chosen; its steps are taken to be slower times as long as they are known to be.

    parts is its memory but for the KV pool, by pipeline stage. median are its steps at the middle of their band, beside nobody.
    """

    group: ServiceGroup
    site: Site
    mode: Sharing
    settings: EngineSettings
    mig: MigProfile | None
    step: StepTime
    quantile: float
    measured: MeasuredConstants | None
    parts: tuple[MemoryParts, ...]
    slower: float
    median: StepTime

    def load(self, rate_rps: float, level: float, quantile: float | None = None) -> LoadForecast | None:
        """Latency (at the sizing quantile, or another) and load at a rate while so many residents are active."""
        at = self.quantile if quantile is None else quantile
        return forecast(self.step, self.group.mix_at(rate_rps), rate_rps, 1.0 / level, self.settings, at)

    def largest_rps(self, level: int) -> float:
        """Largest rate that meets the SLO; a replica with part of a bursty demand sees only its part of each burst."""

        def capacity(mix: RequestMix) -> float:
            return capacity_rps(self.step, mix, self.group.slo, 1.0 / level, self.settings, self.quantile)

        low_rps, smooth = capacity(self.group.mix), self.group.mix_at(0.0)
        if low_rps <= 0.0 or smooth is self.group.mix:
            return low_rps
        high_rps = capacity(smooth)
        while high_rps > low_rps * RATE_RATIO:
            middle_rps = math.sqrt(low_rps * high_rps)
            load = self.load(middle_rps, level)
            slo = self.group.slo
            meets = load is not None and load.tpot_s <= slo.tpot_s and slo.ttft_used(load.ttft_s, load.ttft_by_class_s) <= 1.0
            low_rps, high_rps = (middle_rps, high_rps) if meets else (low_rps, middle_rps)
        return low_rps

    def kv_need_bytes(self, rate_rps: float, level: float) -> int | None:
        """KV bytes that hold its requests in flight at p99; None at a rate without steady state.

        Where its steps are taken to be shorter than known, no fewer than it takes alone with steps as they are known to be.
        """
        load = self.load(rate_rps, level)
        if load is None:
            return None
        known = self._known.load(rate_rps, 1.0) if self.slower < 1.0 else None
        return max(self._kv_bytes(load), self._kv_bytes(known) if known is not None else 0)

    @property
    def _known(self) -> Variant:
        """The same with steps as long as they are known to be."""
        return replace(self, step=self.step.slower(1.0 / self.slower), slower=1.0)

    def _kv_bytes(self, load: LoadForecast) -> int:
        return self.kv_bytes_of(load.kv_tokens, load.kv_tokens_p99, load.running_requests)

    def kv_bytes_of(self, kv_tokens: float, kv_tokens_p99: float, running_requests: float) -> int:
        """KV bytes that hold so many tokens at p99, of so many requests with so many tokens in the mean."""
        request_tokens = kv_tokens / running_requests
        return kv_bytes_for_tokens(self.group.model.architecture, self.settings, math.ceil(kv_tokens_p99), request_tokens)

    def ledger(self, kv_bytes: int) -> MemoryLedger:
        """Its memory with a KV pool of so many bytes."""
        return ledger_of(self.parts, kv_bytes)

    @property
    def min_kv_bytes(self) -> int:
        """The least KV pool that its engine starts with."""
        return least_kv_bytes(self.group.model.architecture, self._fewest)

    @property
    def least_pool_holds(self) -> str:
        """What the least pool is for, in words."""
        return least_pool_holds(self.group.model.architecture, self._fewest)

    @property
    def _fewest(self) -> EngineSettings:
        """Its settings with the fewest sequences that it may have: one where nobody chose max_num_seqs."""
        return self.settings if self.group.model.max_num_seqs_stated else replace(self.settings, max_num_seqs=1)

    def within(self, kv_bytes: int) -> Variant:
        """With no more sequences than the pool has blocks for, where nobody chose max_num_seqs."""
        if self.group.model.max_num_seqs_stated:
            return self
        sequences = largest_max_num_seqs(self.group.model.architecture, self.settings, kv_bytes)
        if sequences == self.settings.max_num_seqs:
            return self
        settings = replace(self.settings, max_num_seqs=sequences)
        return replace(self, settings=settings, parts=_parts(self.group, self.site, settings, self.measured))

    def slo_reason(self, level: int) -> str:
        """Why not even a trickle of requests meets the SLO when `level` residents are active."""
        best = self.load(TRICKLE_RPS, level)
        share = f"at 1/{level} of the GPU" if level > 1 else "alone"
        if self.mode == "mps":
            share = f"with {self.settings.active_thread_percentage} % of the threads"
        if best is None:
            return f"cannot finish even one request at a time {share}"
        slo = self.group.slo
        seen, wanted = f"TTFT {best.ttft_s * 1000:.0f} ms", f"TTFT {slo.ttft_s * 1000:.0f} ms"
        if not self.group.model.pooling:
            seen, wanted = f"{seen}, TPOT {best.tpot_s * 1000:.1f} ms", f"{wanted}, TPOT {slo.tpot_s * 1000:.1f} ms"
        return f"unloaded and {share} its p{self.quantile * 100:g} is {seen}; the goal is {wanted}"
